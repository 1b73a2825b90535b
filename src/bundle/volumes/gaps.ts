/** What no digest covers: the zeros behind contents and at the end of a tar. */
import type { ByteRange } from "../file-range.ts";
import type { BlobEntry, Layout } from "../layout.ts";
import { endBytes, paddingOf } from "../tar-header.ts";
import type { VolumeSet } from "./volume-set.ts";

/** The volumes at hand in which such zeros are none, in their order. Throws DISK, or the signal's reason. */
export async function findDamagedGaps(
  volumes: VolumeSet,
  layout: Layout,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  const damaged = new Set<number>();
  const buffer = Buffer.alloc(endBytes);
  for (const { position, length } of gapsOf(layout, volumes.frontBytes)) {
    signal?.throwIfAborted();
    for (let at = position; at < position + length; ) {
      const left = position + length - at;
      const byte = { position: at, length: 1 };
      const [volume = 0] = volumes.holding(byte);
      if (volumes.lacking(byte).length > 0) {
        at = volume * volumes.volumeBytes;
        continue;
      }
      const { bytesRead } = await volumes.read(buffer, 0, left, at);
      if (bytesRead === 0 || buffer.subarray(0, bytesRead).some((byte) => byte !== 0)) damaged.add(volume);
      at += Math.max(bytesRead, 1);
    }
  }
  return [...damaged].sort((a, b) => a - b);
}

function* gapsOf(layout: Layout, frontBytes: number): Generator<ByteRange> {
  const behind = ({ contentOffset, size }: BlobEntry): ByteRange => ({
    position: contentOffset + size,
    length: paddingOf(size),
  });
  // What lies at the front was compared as a whole.
  for (const entry of layout.blobs.values()) if (entry.contentOffset >= frontBytes) yield behind(entry);
  yield { position: layout.totalBytes - endBytes, length: endBytes };
}
