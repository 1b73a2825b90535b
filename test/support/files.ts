/** What a program has left on the disk. */
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";

/** All files below a folder, as paths relative to it, sorted. */
export async function filesBelow(folder: string): Promise<readonly string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}
