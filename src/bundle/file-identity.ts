/**
 * Tells whether an open file was changed while it was read. Then a part of what was read is old and a part is new, and
 * what is wrong with it says nothing of either state.
 */
import { AppError } from "../errors.ts";
import { asDiskError } from "./disk.ts";
import type { PositionalReader } from "./positional-file.ts";

/** What tells that a file was written to. Size in bytes. */
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
 * Throws DISK if an open file was changed since `before`. Another file that was renamed to the same path does not count:
 * the open one is still the old one, whole.
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
