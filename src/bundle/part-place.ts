/** Where a bundle grows: the files beside it, and whether it can be written there at all. */
import { open, readlink, realpath, stat, statfs } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
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

/** Which process writes it. */
export function lockPath(path: string): string {
  return `${partPath(path)}.lock`;
}

/** Where a path leads that is a symbolic link, to something that need not be there yet; the path itself otherwise. */
export async function followLink(path: string): Promise<string> {
  const target = await readlink(path).catch(() => undefined);
  if (target === undefined) return path;
  return await realpath(path).catch(() => resolve(dirname(path), target));
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
  const free = (await freeBytes(dirname(path))) + occupied;
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

/** True if the disk has room for so many bytes besides what is there. */
export async function hasRoomFor(path: string, bytes: number): Promise<boolean> {
  return (await freeBytes(dirname(path))) >= bytes;
}

/** What the disk that a folder is on has free for this user, in bytes. Throws what the system says. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Puts a rename on the disk: fsync of a folder, where the file system knows that. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync().catch((error: unknown) => {
      if (!/^(?:EINVAL|ENOTSUP|EPERM)$/.test(systemCode(error) ?? "")) throw error;
    });
  } finally {
    await folder.close();
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
