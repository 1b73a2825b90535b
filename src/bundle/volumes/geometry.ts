/** Where the bytes of a bundle lie in its volumes: pure arithmetic. All volumes but the last are of one size. */

/** Some bytes of one volume. */
export interface VolumeSlice {
  /** Counted from 1. */
  readonly volume: number;
  /** Where they begin in the volume, in bytes. */
  readonly at: number;
  readonly length: number;
}

/** How many volumes a bundle takes; a bundle is never empty. */
export function volumeCount(totalBytes: number, volumeBytes: number): number {
  return Math.max(1, Math.ceil(totalBytes / volumeBytes));
}

/** The size of one volume of a bundle, in bytes; 0 behind the last. */
export function volumeSize(volume: number, totalBytes: number, volumeBytes: number): number {
  return Math.max(0, Math.min(volumeBytes, totalBytes - (volume - 1) * volumeBytes));
}

/** The first of the volumes that `length` bytes from a position on lie in, and what lies there. */
export function firstSlice(position: number, length: number, volumeBytes: number): VolumeSlice {
  const at = position % volumeBytes;
  return {
    volume: Math.floor(position / volumeBytes) + 1,
    at,
    length: Math.min(length, volumeBytes - at),
  };
}

/** All volumes that `length` bytes from a position on lie in, in their order. */
export function slicesOf(position: number, length: number, volumeBytes: number): readonly VolumeSlice[] {
  const slices: VolumeSlice[] = [];
  for (let done = 0; done < length; ) {
    const slice = firstSlice(position + done, length - done, volumeBytes);
    slices.push(slice);
    done += slice.length;
  }
  return slices;
}
