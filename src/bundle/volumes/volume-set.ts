/**
 * The volumes of a bundle that are at hand, as one file to read in place. Some may be missing: the front of the bundle
 * is in every checksum list, so the table of contents and the manifests are there with any volume.
 */
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { AppError, isAppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { asDiskError, diskError } from "../disk.ts";
import { type ByteRange, hashFileRange } from "../file-range.ts";
import type { PositionalReader, PositionalStats } from "../positional-file.ts";
import { type FoundSet, findSet, meansSet, type VolumeState } from "./find-set.ts";
import { firstSlice, slicesOf, type VolumeSlice, volumeSize } from "./geometry.ts";
import { Pieces } from "./pieces.ts";
import { type SumFile, unpackFront } from "./sum-file.ts";

const noFront = Buffer.alloc(0);
const compareBytes = 1024 * 1024;

export interface VolumeOptions {
  /** Messages call a bundle in volumes by the name of the whole, whichever of them was named. */
  readonly asWhole?: boolean | undefined;
  /** The folder of what was kept of earlier volumes of a bundle ({@link VolumeSet.keep}); none if left out. */
  readonly keptIn?: ((bundle: Digest) => string | undefined) | undefined;
}

/** What of a bundle in volumes is there. Close it when done. */
export class VolumeSet implements PositionalReader {
  /** The path of the whole: `bundle.tar`. */
  readonly path: string;
  readonly volumeBytes: number;
  readonly states: readonly VolumeState[];
  readonly #totalBytes: number;
  readonly #files: readonly (FileHandle | undefined)[];
  readonly #front: Buffer;
  readonly #pieces: Pieces | undefined;
  readonly #damaged = new Set<number>();
  readonly #hashes = new Map<number, Promise<boolean | undefined>>();

  private constructor(
    { path, volumeBytes, totalBytes }: Pick<FoundSet, "path" | "volumeBytes" | "totalBytes">,
    states: readonly VolumeState[],
    files: readonly (FileHandle | undefined)[],
    { front, pieces }: { readonly front: Buffer; readonly pieces: Pieces | undefined },
  ) {
    this.path = path;
    this.volumeBytes = volumeBytes;
    this.#totalBytes = totalBytes;
    this.states = states;
    this.#files = files;
    this.#front = front;
    this.#pieces = pieces;
  }

  /**
   * Opens the set that a path means: one of its volumes, or what all of them would be joined to where there is no such
   * file. Undefined if it means none. Throws DISK, BUNDLE, or INTEGRITY if what is there is too little to tell.
   */
  static async open(path: string, options: VolumeOptions = {}): Promise<VolumeSet | undefined> {
    const found = await findSet(path).catch(asDiskError(`read ${path}`));
    if (found === undefined) return undefined;
    const files: (FileHandle | undefined)[] = [];
    try {
      for (const { state, path: file } of found.states) {
        const handle = state === "there" || state === "unlisted" ? await open(file, "r") : undefined;
        files.push(handle);
      }
      const front = await readFront(found.sums);
      const kept = found.bundle === undefined ? undefined : options.keptIn?.(found.bundle);
      const pieces = kept === undefined ? undefined : await Pieces.open(kept);
      const set = new VolumeSet(found, found.states, files, { front, pieces });
      await set.#compareFront();
      return set;
    } catch (error) {
      for (const file of files) await file?.close();
      throw diskError(`read ${path}`, error);
    }
  }

  /** So much of the bundle is read from the lists, in bytes. */
  get frontBytes(): number {
    return this.#front.byteLength;
  }

  /** The file names of the volumes that some bytes of the bundle lie in and that are not there. */
  lacking(range: ByteRange): readonly string[] {
    return this.#behindFront(range)
      .filter((slice) => !this.#isThere(slice))
      .map(({ volume }) => this.nameOf(volume));
  }

  /** The volumes that some bytes lie in, by number. */
  holding({ position, length }: ByteRange): readonly number[] {
    return slicesOf(position, length, this.volumeBytes).map(({ volume }) => volume);
  }

  /**
   * Keeps what is at hand of contents of which the rest is not, for a run that has only the rest, and nothing else.
   * Gives the folder, and how many bytes it keeps there; undefined if it keeps nothing, since there is no room or no
   * folder. Throws DISK.
   */
  async keep(
    contents: readonly ByteRange[],
  ): Promise<{ readonly folder: string; readonly bytes: number } | undefined> {
    const wanted = contents.flatMap((range) =>
      this.#behindFront(range)
        .filter((slice) => this.#isThere(slice))
        .map((slice) => this.#rangeOf(slice)),
    );
    if (this.#pieces === undefined || !(await this.#pieces.keep(this, wanted))) return undefined;
    return { folder: this.#pieces.folder, bytes: wanted.reduce((sum, { length }) => sum + length, 0) };
  }

  /** What of some bytes is read from volumes: what lies at the front is in the lists. */
  #behindFront({ position, length }: ByteRange): readonly VolumeSlice[] {
    const from = Math.max(position, this.#front.byteLength);
    return slicesOf(from, Math.max(0, position + length - from), this.volumeBytes);
  }

  /** True for a slice whose volume is there, or that was kept of it. */
  #isThere(slice: VolumeSlice): boolean {
    return this.#files[slice.volume - 1] !== undefined || this.#pieces?.covers(this.#rangeOf(slice)) === true;
  }

  #rangeOf({ volume, at, length }: VolumeSlice): ByteRange {
    return { position: (volume - 1) * this.volumeBytes + at, length };
  }

  /** The file name of a volume. */
  nameOf(volume: number): string {
    return basename(this.states[volume - 1]?.path ?? "");
  }

  /** True if what a volume has at its front is not what belongs there. */
  isDamaged(volume: number): boolean {
    return this.#damaged.has(volume);
  }

  /**
   * Hashes a volume as a whole and compares it with its checksum list; undefined where there is none to compare with,
   * or no volume. Throws DISK.
   */
  async matchesSum(volume: number, signal?: AbortSignal): Promise<boolean | undefined> {
    const known = this.#hashes.get(volume) ?? this.#hash(volume, signal);
    this.#hashes.set(volume, known);
    return await known;
  }

  async read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }> {
    if (position < this.#front.byteLength) {
      const piece = this.#front.subarray(position, position + length);
      buffer.set(piece, offset);
      return { bytesRead: piece.byteLength };
    }
    if (position >= this.#totalBytes) return { bytesRead: 0 };
    const slice = firstSlice(position, length, this.volumeBytes);
    const file = this.#files[slice.volume - 1];
    if (file === undefined) {
      const kept = await this.#pieces?.read(buffer, offset, { position, length: slice.length });
      if (kept !== undefined) return kept;
      throw new AppError("DISK", `Cannot read ${this.nameOf(slice.volume)}: the volume is not there`, {
        hint: "put it beside the others",
      });
    }
    return await file.read(buffer, offset, slice.length, slice.at);
  }

  /** The set counts as changed if one of its volumes has. Its size is that of the whole, whatever is there of it. */
  async stat(): Promise<PositionalStats> {
    let [blocks, mtimeNs, size] = [0n, 0n, BigInt(this.#totalBytes)];
    for (const [index, file] of this.#files.entries()) {
      if (file === undefined) continue;
      const found = await file.stat({ bigint: true });
      blocks += found.blocks;
      mtimeNs += found.mtimeNs;
      size += found.size - BigInt(volumeSize(index + 1, this.#totalBytes, this.volumeBytes));
    }
    return { size, blocks, mtimeNs };
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map(async (file) => await file?.close()));
    await this.#pieces?.close();
  }

  /** What is read from the lists has to be in the volumes, too: so that what joins them reads the same. */
  async #compareFront(): Promise<void> {
    const buffer = Buffer.alloc(compareBytes);
    for (let at = 0; at < this.#front.byteLength; ) {
      const wanted = Math.min(compareBytes, this.#front.byteLength - at);
      const slice = firstSlice(at, wanted, this.volumeBytes);
      const file = this.#files[slice.volume - 1];
      const { bytesRead = slice.length } = (await file?.read(buffer, 0, slice.length, slice.at)) ?? {};
      const expected = this.#front.subarray(at, at + bytesRead);
      if (file !== undefined && (bytesRead === 0 || !expected.equals(buffer.subarray(0, bytesRead))))
        this.#damaged.add(slice.volume);
      at += bytesRead === 0 ? slice.length : bytesRead;
    }
  }

  async #hash(volume: number, signal: AbortSignal | undefined): Promise<boolean | undefined> {
    const file = this.#files[volume - 1];
    const expected = this.states[volume - 1]?.sha256;
    if (file === undefined || expected === undefined) return undefined;
    const length = volumeSize(volume, this.#totalBytes, this.volumeBytes);
    return (await hashFileRange(file, { position: 0, length }, this.nameOf(volume), signal)) === expected;
  }
}

/** True if a path means a bundle in volumes. Throws DISK. */
export async function isVolumeSet(path: string): Promise<boolean> {
  return await meansSet(path).catch(asDiskError(`read ${path}`));
}

/** The front of the bundle out of the first list that has it undamaged; empty if none has. */
async function readFront(sums: readonly (() => Promise<SumFile | undefined>)[]): Promise<Buffer> {
  for (const read of sums) {
    try {
      const sum = await read();
      if (sum !== undefined) return await unpackFront(sum);
    } catch (error) {
      if (!isAppError(error, "INTEGRITY")) throw error;
    }
  }
  return noFront;
}
