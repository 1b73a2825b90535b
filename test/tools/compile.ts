/** Compiles src/ to dist/, and knows whether that is necessary. */
import { createHash } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { exists, filesUnder, packageFile, projectRoot, runCommand } from "./project.ts";

const dist = join(projectRoot, "dist");
const stampName = ".built-from";

/** What became of a build. */
export type BuildResult =
  | { readonly kind: "built" }
  /** The compiler complained. What it wrote nevertheless is in dist/, without a stamp, so the next build starts over. */
  | { readonly kind: "failed"; readonly output: string }
  /** No compiler is installed, as after `npm ci --omit=dev`. */
  | { readonly kind: "no-compiler"; readonly distExists: boolean };

/** A digest over names, sizes and times of everything that the build reads. Notices deleted files too. */
async function inputStamp(): Promise<string> {
  const hash = createHash("sha256");
  const inputs = [
    ...(await filesUnder(join(projectRoot, "src"))),
    join(projectRoot, "tsconfig.json"),
    join(projectRoot, "package.json"),
  ];
  for (const path of inputs) {
    const { size, mtimeMs } = await stat(path);
    hash.update(`${relative(projectRoot, path)} ${size} ${mtimeMs}\n`);
  }
  return hash.digest("hex");
}

/** True when dist/ is not what a build of the present src/ would give. */
export async function isStale(): Promise<boolean> {
  const stamp = await readFile(join(dist, stampName), "utf8").catch(() => undefined);
  return stamp !== (await inputStamp());
}

/** Puts `fresh` in dist's place and what was there at `former`. Another build may do the same at this moment. */
async function replaceDist(fresh: string, former: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    if (await exists(dist)) {
      await rm(former, { recursive: true, force: true });
      // Gone already if the other build was faster.
      await rename(dist, former).catch(() => undefined);
    }
    try {
      await rename(fresh, dist);
      return;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

/**
 * Compiles into a folder of its own and puts it in dist's place by rename, so that a program that starts meanwhile
 * finds a whole dist/.
 */
export async function compile(): Promise<BuildResult> {
  const compiler = packageFile("typescript", "bin/tsc");
  if (compiler === undefined) return { kind: "no-compiler", distExists: await exists(dist) };
  // Beside dist/, not below a cache folder: the source maps hold paths relative to their own depth.
  const fresh = join(projectRoot, `.dist-${process.pid}`);
  const former = join(projectRoot, `.dist-${process.pid}-former`);
  try {
    const stamp = await inputStamp();
    const { code, output } = await runCommand(process.execPath, [
      compiler,
      "-p",
      projectRoot,
      "--outDir",
      fresh,
    ]);
    if (!(await exists(fresh))) return { kind: "failed", output };
    if (code === 0) await writeFile(join(fresh, stampName), stamp);
    await replaceDist(fresh, former);
    return code === 0 ? { kind: "built" } : { kind: "failed", output };
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(former, { recursive: true, force: true });
  }
}
