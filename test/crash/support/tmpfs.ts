/** A small file system of its own, and a way to fill it up. Needs the right to mount. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { systemCode } from "../../../src/errors.ts";

/** True where file systems can be mounted. */
export const mayMount = process.getuid?.() === 0 && process.platform === "linux";

/** Mounts one on a new folder; disposing of it takes it away. `size` in bytes. */
export async function mountTmpfs(path: string, size: number): Promise<Disposable> {
  await mkdir(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  return { [Symbol.dispose]: () => void execFileSync("umount", [path]) };
}

/** Writes a file until no space is left. */
export function fillUp(path: string): void {
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, Buffer.alloc(64 * 1024, 1));
  } catch (error) {
    if (systemCode(error) !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}
