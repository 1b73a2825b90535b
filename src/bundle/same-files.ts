/** Which files a bundle consists of, which ones a pull replaces, and whether any are the same, whatever they are called. */
import { stat } from "node:fs/promises";
import { diskError } from "./disk.ts";
import { partPath } from "./part-place.ts";
import { findSet } from "./volumes/find-set.ts";
import { findVolumeFiles } from "./volumes/names.ts";

/** The files of the bundle that a path means: itself, or the volumes that are there. Throws DISK. */
export async function filesOf(path: string): Promise<readonly string[]> {
  const set = await findSet(path).catch((error: unknown) => {
    throw diskError(`read ${path}`, error);
  });
  return set?.states.filter(({ found }) => found !== undefined).map((state) => state.path) ?? [path];
}

/**
 * The files by which a bundle that is written to a path would be known, finished or not, in one file or in volumes: what
 * a pull replaces, or leaves there under a name that means the new one from then on. Throws DISK.
 */
export async function filesNamed(path: string): Promise<readonly string[]> {
  const { volumes, parts } = await findVolumeFiles(path).catch((error: unknown) => {
    throw diskError(`write ${path}`, error);
  });
  return [path, partPath(path), ...volumes.values(), ...parts.values()];
}

/** Those of some files that are also among others, by another name or by links. */
export async function sameFiles(
  files: readonly string[],
  others: readonly string[],
): Promise<readonly string[]> {
  const found = new Set(await Promise.all(others.map(identityOf)));
  found.delete(undefined);
  const identities = await Promise.all(files.map(identityOf));
  return files.filter((_, at) => found.has(identities[at]));
}

/** What tells a file from all others; undefined if there is none. */
async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? undefined : `${found.dev} ${found.ino}`;
}
