/** Runs a shell line in which the program is called `mirror`: for pipes as users write them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cleanEnvironment, programPath } from "./cli.ts";
import { tempDir } from "./temp.ts";

/** What a line left behind. `codes`: the exit code of each part of its pipe. */
export interface ShellResult {
  readonly codes: readonly number[];
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs one pipe of programs in bash. */
export async function runPipe(
  line: string,
  options: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Promise<ShellResult> {
  await using home = await tempDir();
  const script = `mirror() { '${process.execPath}' '${programPath}' "$@"; }\n${line}\necho "codes: \${PIPESTATUS[*]}" >&2`;
  const child = spawn("bash", ["-c", script], {
    cwd: options.cwd,
    env: cleanEnvironment(home.path, options.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  await once(child, "close");
  const stderr = Buffer.concat(err).toString("utf8");
  const codes = (/^codes: (.*)$/m.exec(stderr)?.[1] ?? "").split(" ").map(Number);
  return { codes, stdout: Buffer.concat(out), stderr };
}
