/** Where a bundle grows: the files beside it, and whether it can be written there at all. */
import { open, stat, statfs } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { AppError, systemCode } from "../errors.ts";
import { diskError } from "./disk.ts";

/** Where a bundle grows until it is whole. */
export function partPath(path: string): string {
  return `${path}.part`;
}

/** Where it is noted what of it is there. */
export function journalPath(path: string): string {
  return `${partPath(path)}.journal`;
}

/** Where a piece is kept while it is moved inside the part. */
export function spillPath(path: string): string {
  return `${partPath(path)}.move`;
}

/** Makes sure that a bundle can get this name: its folder is there, and no folder has the name. Throws NOT_FOUND or DISK. */
export async function checkBundlePath(path: string): Promise<void> {
  const folder = dirname(path);
  const found = await stat(folder).catch((error: unknown) => {
    if (systemCode(error) !== "ENOENT") throw diskError(`write ${path}`, error);
    throw new AppError("NOT_FOUND", `Cannot write ${path}: there is no folder ${folder}`, {
      hint: `make it with mkdir -p ${folder}, or check the path`,
      cause: error,
    });
  });
  if (!found.isDirectory()) throw new AppError("DISK", `Cannot write ${path}: ${folder} is not a folder`);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw new AppError("DISK", `Cannot write ${path}: it is a folder`, {
      hint: `name a file in it: ${path}/bundle.tar`,
    });
  }
  if (existing !== undefined && !existing.isFile())
    throw new AppError("DISK", `Cannot write ${path}: it is not a regular file`);
}

/**
 * Makes sure that a bundle of `needed` bytes fits, of which `occupied` are on the disk already (blocks, not the length
 * of the part: it is laid out sparse). Throws DISK with both figures.
 */
export async function checkSpace(path: string, needed: number, occupied: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  const free = bavail * bsize + occupied;
  if (free >= needed) return;
  throw new AppError(
    "DISK",
    `Cannot write ${basename(path)}: it needs ${mebibytes(needed)}, and ${dirname(path)} has ${mebibytes(free)} free`,
    {
      hint: "make room, or write to another disk",
      details: { neededBytes: needed, freeBytes: free },
    },
  );
}

/** Puts a rename on the disk: fsync of a folder. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
