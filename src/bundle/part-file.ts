/** The file in which a bundle grows: one, or a part for each volume. */
import { constants, open, rm, stat } from "node:fs/promises";
import { systemCode } from "../errors.ts";
import { journalPath, partPath, spillPath } from "./part-place.ts";
import type { PositionalFile, PositionalReader } from "./positional-file.ts";
import { findVolumeFiles } from "./volumes/names.ts";
import { type FoundParts, findParts, VolumeParts } from "./volumes/volume-parts.ts";

/** A bundle to write. */
export interface PartShape {
  readonly path: string;
  /** The size of each volume but the last, in bytes; undefined for one file. */
  readonly volumeBytes?: number | undefined;
}

/** What messages call the unfinished bundle. */
export function partName({ path, volumeBytes }: PartShape): string {
  return volumeBytes === undefined ? partPath(path) : `the unfinished volumes of ${path}`;
}

/** Looks for what an earlier run has left. Throws what the system says. */
export async function findPart({ path, volumeBytes }: PartShape): Promise<FoundParts> {
  const one = await stat(partPath(path)).catch((error: unknown) => {
    // Whatever else keeps us from it may pass: it is not to be overwritten for that.
    if (systemCode(error) !== "ENOENT") throw error;
    return undefined;
  });
  const found = await findParts(path, volumeBytes ?? 1);
  if (volumeBytes !== undefined) return found.state === "none" && one !== undefined ? otherShape : found;
  if (one !== undefined) return { state: "usable", bytes: one.size, occupiedBytes: one.blocks * 512 };
  return found.state === "none" ? found : otherShape;
}

const otherShape: FoundParts = { state: "other", bytes: 0, occupiedBytes: 0 };

/** Opens it, anew or as an earlier run has left it. Throws what the system says. */
export async function openPartFile(
  { path, volumeBytes }: PartShape,
  isNew: boolean,
): Promise<PositionalFile> {
  // A link may lead to anything.
  const flags = constants.O_RDWR | constants.O_NOFOLLOW;
  const anew = isNew ? constants.O_CREAT | constants.O_TRUNC : 0;
  if (volumeBytes === undefined) return await open(partPath(path), flags | anew, 0o644);
  return isNew ? VolumeParts.create(path, volumeBytes) : await VolumeParts.resume(path, volumeBytes);
}

/** Opens what an earlier run has left, to read and to leave as it is. Throws what the system says. */
export async function openPartToRead({ path, volumeBytes }: PartShape): Promise<PositionalReader> {
  if (volumeBytes === undefined) return await open(partPath(path), "r");
  return await VolumeParts.openToRead(path, volumeBytes);
}

/** Removes what an unfinished bundle consists of, in one file or in volumes. */
export async function removePart(path: string): Promise<void> {
  const { parts, sumParts } = await findVolumeFiles(path);
  // From the last, since a gap at the front would mean volumes that have got their names already. The journal last:
  // without it, a part is a file that nobody knows anything about.
  const volumes = [...sumParts.values(), ...[...parts].sort(([a], [b]) => b - a).map(([, part]) => part)];
  for (const file of [partPath(path), spillPath(path), ...volumes, journalPath(path)])
    await rm(file, { force: true });
}
