/** Tells whether a file that is open has changed since: then what is read from it is of no bundle that ever was. */
import { AppError } from "../errors.ts";
import { asDiskError } from "./disk.ts";
import type { PositionalReader } from "./positional-file.ts";

/** What a change does not leave as it was. Size in bytes. */
export interface FileIdentity {
  readonly size: number;
  readonly mtimeNs: bigint;
}

/** How an open file is now. Throws DISK. */
export async function identify(file: Pick<PositionalReader, "stat">, path: string): Promise<FileIdentity> {
  const found = await file.stat({ bigint: true }).catch(asDiskError(`read ${path}`));
  return { size: Number(found.size), mtimeNs: found.mtimeNs };
}

/**
 * Throws DISK if an open file is not as it was any more. A file of the same name that was put in its place is another
 * one, and leaves this one as it is.
 */
export async function refuseChanged(
  file: Pick<PositionalReader, "stat">,
  path: string,
  before: FileIdentity,
): Promise<void> {
  const now = await identify(file, path);
  if (now.size === before.size && now.mtimeNs === before.mtimeNs) return;
  const sizes =
    now.size === before.size ? "" : `: it was ${before.size} bytes, and ${now.size} bytes are there now`;
  throw new AppError("DISK", `Cannot read ${path}: it changed while it was read${sizes}`, {
    hint: "wait until nobody writes to it any more, then run the same command again",
    details: { sizeBefore: before.size, sizeNow: now.size },
  });
}
