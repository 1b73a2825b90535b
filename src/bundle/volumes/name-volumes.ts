/**
 * The end of a bundle in volumes: each gets its checksum list and then its name, in their order. A volume has its name
 * only when the whole bundle is proved, and a list comes before its volume. A program that is ended in between leaves a
 * gap at the front of the parts, by which the next one knows ({@link VolumeParts.resume}).
 */
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import pLimit from "p-limit";
import { reached } from "../../content/points.ts";
import { type Digest, digestOf } from "../../oci/digest.ts";
import { diskError, readExactly, writeAll } from "../disk.ts";
import { hashFileRange } from "../file-range.ts";
import type { Layout } from "../layout.ts";
import { mirrorFilePath } from "../metadata.ts";
import { syncFolder } from "../part-place.ts";
import { slicesOf, volumeCount, volumeSize } from "./geometry.ts";
import { findVolumeFiles, sumPath, volumePartPath, volumePath } from "./names.ts";
import { formatSumFile, packFront, type VolumeDescription } from "./sum-file.ts";
import type { VolumeParts } from "./volume-parts.ts";

/** Hashing runs on one core each. */
const concurrency = 2;

/** Gives all volumes their names. Throws DISK, or the signal's reason. */
export async function nameVolumes(
  path: string,
  parts: VolumeParts,
  layout: Layout,
  signal?: AbortSignal,
): Promise<void> {
  try {
    const count = volumeCount(layout.totalBytes, parts.volumeBytes);
    await writeSums(path, parts, layout, signal);
    for (let volume = 1; volume <= count; volume += 1) {
      const sum = sumPath(path, volume, count);
      await rename(`${sum}.part`, sum);
      reached("volumes:sum-named");
      await rename(volumePartPath(path, volume), volumePath(path, volume, count));
      reached("volumes:volume-named");
    }
    await removeOtherVolumes(path, count);
    await syncFolder(dirname(path));
  } catch (error) {
    throw diskError(`write ${path} in volumes`, error);
  }
}

/** Removes what another bundle of this name had: volumes behind the last one, and names with another number of digits. */
export async function removeOtherVolumes(path: string, count: number): Promise<void> {
  const { volumes, sums } = await findVolumeFiles(path);
  for (const [volume, file] of volumes)
    if (file !== volumePath(path, volume, count) || volume > count) await rm(file, { force: true });
  for (const [volume, file] of sums)
    if (file !== sumPath(path, volume, count) || volume > count) await rm(file, { force: true });
}

async function writeSums(
  path: string,
  parts: VolumeParts,
  layout: Layout,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { volumeBytes } = parts;
  const { totalBytes } = layout;
  const count = volumeCount(totalBytes, volumeBytes);
  const mirrorFile = layout.metadata.find((file) => file.path === mirrorFilePath);
  const front = await readExactly(parts, 0, layout.frontBytes, path);
  const packed = await packFront(front);
  const contents = contentsOf(layout, volumeBytes);
  const common = {
    version: 1,
    bundle: digestOf(mirrorFile?.bytes ?? Buffer.alloc(0)),
    bundleBytes: totalBytes,
    volumeBytes,
    volumes: count,
    front: { size: front.byteLength, digest: digestOf(front) },
  } as const;
  const volumes = Array.from({ length: count }, (_, index) => index + 1);
  await pLimit(concurrency).map(volumes, async (volume) => {
    const offset = (volume - 1) * volumeBytes;
    const size = volumeSize(volume, totalBytes, volumeBytes);
    const sha256 = await hashFileRange(parts, { position: offset, length: size }, path, signal);
    const blobs = contents.get(volume) ?? [];
    const list = sumPath(path, volume, count);
    const text = formatSumFile({ ...common, volume, offset, size, sha256, blobs }, packed, {
      name: basename(volumePath(path, volume, count)),
      bundle: basename(path),
      list: basename(list),
    });
    await rm(`${list}.part`, { force: true });
    const file = await open(`${list}.part`, "wx", 0o644);
    try {
      await writeAll(file, text, 0, `${list}.part`);
      await file.sync();
    } finally {
      await file.close();
    }
  });
}

/** What lies in each volume. */
function contentsOf(layout: Layout, volumeBytes: number): ReadonlyMap<number, VolumeDescription["blobs"]> {
  const found = new Map<number, [Digest, number, number, number][]>();
  for (const { digest, contentOffset, size } of layout.blobs.values()) {
    let from = 0;
    for (const { volume, at, length } of slicesOf(contentOffset, size, volumeBytes)) {
      const blobs = found.get(volume) ?? [];
      blobs.push([digest, at, from, length]);
      found.set(volume, blobs);
      from += length;
    }
  }
  return found;
}
