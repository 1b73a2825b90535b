/**
 * The ends of volumes that were pushed and are gone again. Content that lies across two volumes can be sent only if what
 * the first has of it is kept until the second is there. A piece is proved when it is read, as all content is.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { diskError, writeAll } from "../disk.ts";
import { type ByteRange, readFileRange } from "../file-range.ts";
import { freeBytes } from "../part-place.ts";
import type { PositionalReader } from "../positional-file.ts";

/** Pieces of a bundle are removed when none was added or taken away for so long. Milliseconds. */
const maxAgeMs = 30 * 24 * 60 * 60 * 1000;
/** Left free on the disk. Bytes. */
const reservedBytes = 256 * 1024 * 1024;

/** The pieces of one bundle for one target, each a file in a folder that has nothing else. Close it when done. */
export class Pieces {
  readonly folder: string;
  readonly #ranges: ByteRange[];
  readonly #files = new Map<ByteRange, FileHandle>();

  private constructor(folder: string, ranges: ByteRange[]) {
    this.folder = folder;
    this.#ranges = ranges;
  }

  /** Looks for what was kept. Throws what the system says. */
  static async open(folder: string): Promise<Pieces> {
    const names = await readdir(folder).catch(() => []);
    const ranges = names.flatMap((name) => {
      const [, position, length] = /^([0-9]{1,15})-([0-9]{1,15})$/.exec(name) ?? [];
      return position === undefined ? [] : { position: Number(position), length: Number(length) };
    });
    const pieces = new Pieces(folder, ranges);
    for (const range of ranges) pieces.#files.set(range, await open(pieces.#pathOf(range), "r"));
    return pieces;
  }

  /** True if all of these bytes were kept in one piece. */
  covers(range: ByteRange): boolean {
    return this.#find(range) !== undefined;
  }

  /** Reads bytes that were kept, as a file does; undefined where none were. */
  async read(
    buffer: Uint8Array,
    offset: number,
    { position, length }: ByteRange,
  ): Promise<{ readonly bytesRead: number } | undefined> {
    const range = this.#find({ position, length: Math.min(length, 1) });
    if (range === undefined) return undefined;
    const at = position - range.position;
    return await this.#files.get(range)?.read(buffer, offset, Math.min(length, range.length - at), at);
  }

  /**
   * Keeps these bytes of a bundle and removes all others. False if there is no room for them: then nothing is kept.
   * Throws DISK.
   */
  async keep(from: Pick<PositionalReader, "read">, wanted: readonly ByteRange[]): Promise<boolean> {
    try {
      const names = new Set(wanted.map((range) => basename(this.#pathOf(range))));
      for (const range of this.#ranges)
        if (!names.has(basename(this.#pathOf(range)))) await rm(this.#pathOf(range), { force: true });
      const missing = wanted.filter((range) => !this.covers(range));
      if (missing.length === 0) return await this.#tidy(wanted.length === 0);
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const needed = missing.reduce((sum, { length }) => sum + length, reservedBytes);
      if ((await freeBytes(this.folder)) < needed) return false;
      for (const range of missing) await this.#copy(from, range);
      return await this.#tidy(false);
    } catch (error) {
      throw diskError(`write ${this.folder}`, error);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map(async (file) => await file.close()));
  }

  #find({ position, length }: ByteRange): ByteRange | undefined {
    return this.#ranges.find(
      (range) => range.position <= position && position + length <= range.position + range.length,
    );
  }

  #pathOf({ position, length }: ByteRange): string {
    return join(this.folder, `${position}-${length}`);
  }

  async #copy(from: Pick<PositionalReader, "read">, range: ByteRange): Promise<void> {
    const path = this.#pathOf(range);
    const file = await open(`${path}.new`, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
    try {
      let at = 0;
      for await (const chunk of readFileRange(from, range.position, range.length, path)) {
        await writeAll(file, [chunk], at, path);
        at += chunk.byteLength;
      }
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  }

  /** Removes the folder if nothing is kept any more, and those of other bundles that are too old ({@link maxAgeMs}). */
  async #tidy(isEmpty: boolean): Promise<true> {
    if (isEmpty) await rm(this.folder, { recursive: true, force: true });
    const all = dirname(this.folder);
    for (const name of await readdir(all).catch(() => [])) {
      const found = await stat(join(all, name)).catch(() => undefined);
      if (found !== undefined && Date.now() - found.mtimeMs > maxAgeMs)
        await rm(join(all, name), { recursive: true, force: true });
    }
    return true;
  }
}
