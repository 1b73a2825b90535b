/** Where the project is, and how its tools are started. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of package.json, absolute. */
export const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** How a command ended. */
export interface CommandResult {
  /** Exit code; a signal counts as 1. */
  readonly code: number;
  /** stdout and stderr together, in the order of arrival. */
  readonly output: string;
}

/**
 * Runs a command in the project folder and gathers what it prints.
 * Throws when it cannot be started.
 */
export function runCommand(command: string, args: readonly string[]): Promise<CommandResult> {
  return new Promise((settle, fail) => {
    const child = spawn(command, args, { cwd: projectRoot, stdio: ["ignore", "pipe", "pipe"] });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("error", fail);
    child.on("close", (code) => settle({ code: code ?? 1, output: Buffer.concat(chunks).toString("utf8") }));
  });
}

/**
 * The absolute path of a JavaScript launcher inside an installed package (`typescript`, `bin/tsc`), or undefined
 * when the package is absent. By path, because most packages do not export their launcher.
 */
export function packageFile(packageName: string, path: string): string | undefined {
  const launcher = join(projectRoot, "node_modules", packageName, path);
  return existsSync(launcher) ? launcher : undefined;
}

/** The folder's files, deep, as absolute paths in a stable order. A folder that is absent has none. */
export async function filesUnder(folder: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** True when something is there. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
