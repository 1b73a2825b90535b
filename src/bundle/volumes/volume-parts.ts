/** The unfinished volumes of a bundle as one file that grows in place. */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import type { PositionalFile, PositionalStats } from "../positional-file.ts";
import { firstSlice, volumeCount, volumeSize } from "./geometry.ts";
import { findVolumeFiles, volumePartPath } from "./names.ts";

/** What earlier runs have left of volumes of some size. */
export interface FoundParts {
  /** `other`: it was begun with volumes of another size. */
  readonly state: "none" | "usable" | "other";
  /** Bytes in the file, and on the disk. */
  readonly bytes: number;
  readonly occupiedBytes: number;
}

/** Looks for unfinished volumes. Throws what the system says. */
export async function findParts(path: string, volumeBytes: number): Promise<FoundParts> {
  const { parts } = await findVolumeFiles(path);
  const last = Math.max(0, ...parts.keys());
  let [bytes, occupiedBytes] = [0, 0];
  let isOther = false;
  for (let volume = 1; volume <= last; volume += 1) {
    const file = parts.get(volume);
    const found = file === undefined ? undefined : await stat(file);
    // Those in front may have got their names before the program was ended.
    if (found === undefined) continue;
    isOther ||= volume < last ? found.size !== volumeBytes : found.size > volumeBytes;
    bytes = (volume - 1) * volumeBytes + found.size;
    occupiedBytes += found.blocks * 512;
  }
  return { state: parts.size === 0 ? "none" : isOther ? "other" : "usable", bytes, occupiedBytes };
}

/** The parts of all volumes, open. */
export class VolumeParts implements PositionalFile {
  readonly volumeBytes: number;
  readonly #path: string;
  readonly #files: FileHandle[];
  /** Written to since they were last on the disk. */
  readonly #dirty = new Set<FileHandle>();

  private constructor(path: string, volumeBytes: number, files: FileHandle[]) {
    this.#path = path;
    this.volumeBytes = volumeBytes;
    this.#files = files;
  }

  /** Starts anew: nothing of an earlier run is there. Throws what the system says. */
  static create(path: string, volumeBytes: number): VolumeParts {
    return new VolumeParts(path, volumeBytes, []);
  }

  /**
   * Opens what is there. Volumes that have got their names already, since a run was ended while it gave them out,
   * become parts again: the last first, so that this can be interrupted, too. Throws what the system says.
   */
  static async resume(path: string, volumeBytes: number): Promise<VolumeParts> {
    const { parts, volumes } = await findVolumeFiles(path);
    const last = Math.max(0, ...parts.keys());
    const first = Math.min(...parts.keys());
    for (let volume = Math.min(first, last) - 1; volume >= 1; volume -= 1) {
      const named = volumes.get(volume);
      if (named !== undefined) await rename(named, volumePartPath(path, volume));
    }
    const set = new VolumeParts(path, volumeBytes, []);
    try {
      for (let volume = 1; volume <= last; volume += 1) await set.#add();
      return set;
    } catch (error) {
      await set.close();
      throw error;
    }
  }

  /** Opens what is there as it is, to read. Throws what the system says. */
  static async openToRead(path: string, volumeBytes: number): Promise<VolumeParts> {
    const { parts } = await findVolumeFiles(path);
    const files: FileHandle[] = [];
    try {
      for (let volume = 1; volume <= parts.size; volume += 1)
        files.push(await open(volumePartPath(path, volume), "r"));
      return new VolumeParts(path, volumeBytes, files);
    } catch (error) {
      for (const file of files) await file.close();
      throw error;
    }
  }

  get count(): number {
    return this.#files.length;
  }

  /** The open part of a volume, counted from 1. */
  volume(volume: number): FileHandle | undefined {
    return this.#files[volume - 1];
  }

  async read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }> {
    const slice = firstSlice(position, length, this.volumeBytes);
    return (
      (await this.volume(slice.volume)?.read(buffer, offset, slice.length, slice.at)) ?? { bytesRead: 0 }
    );
  }

  async writev(buffers: readonly Uint8Array[], position: number): Promise<{ readonly bytesWritten: number }> {
    const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytes === 0) return { bytesWritten: 0 };
    const slice = firstSlice(position, bytes, this.volumeBytes);
    const file = this.volume(slice.volume);
    if (file === undefined) throw new Error(`nothing was made to write byte ${position} into`);
    this.#dirty.add(file);
    return await file.writev(
      slice.length === bytes ? [...buffers] : firstOf(buffers, slice.length),
      slice.at,
    );
  }

  /** The last volume grows before another comes behind it, and goes before those in front: so sizes tell what is there. */
  async truncate(bytes: number): Promise<void> {
    const count = volumeCount(bytes, this.volumeBytes);
    while (this.#files.length > count) {
      const file = this.#files.pop();
      await rm(volumePartPath(this.#path, this.#files.length + 1), { force: true });
      await file?.close();
    }
    for (let volume = Math.max(1, this.#files.length); volume <= count; volume += 1) {
      if (volume > this.#files.length) await this.#add();
      await this.volume(volume)?.truncate(volumeSize(volume, bytes, this.volumeBytes));
    }
  }

  async datasync(): Promise<void> {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    // One after the other: they would take all threads of the pool.
    for (const file of dirty) await file.datasync();
  }

  async sync(): Promise<void> {
    this.#dirty.clear();
    for (const file of this.#files) await file.sync();
  }

  async stat(): Promise<PositionalStats> {
    let [size, blocks, mtimeNs] = [0n, 0n, 0n];
    for (const file of this.#files) {
      const found = await file.stat({ bigint: true });
      size += found.size;
      blocks += found.blocks;
      mtimeNs += found.mtimeNs;
    }
    return { size, blocks, mtimeNs };
  }

  async close(): Promise<void> {
    const files = this.#files.splice(0);
    await Promise.all(files.map(async (file) => await file.close()));
  }

  async #add(): Promise<void> {
    const path = volumePartPath(this.#path, this.#files.length + 1);
    this.#files.push(await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644));
  }
}

/** The first bytes of some buffers. */
function firstOf(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const first: Uint8Array[] = [];
  let left = bytes;
  for (const buffer of buffers) {
    if (left <= 0) break;
    first.push(buffer.subarray(0, left));
    left -= buffer.byteLength;
  }
  return first;
}
