/** A plain tar, read where it lies: one scan of its headers, then random access. */
import { type FileHandle, open } from "node:fs/promises";
import type { ByteStream, OpenOptions } from "../../content/content.ts";
import { asDiskError } from "../disk.ts";
import { type FileIdentity, identify, refuseChanged } from "../file-identity.ts";
import { readFileRange } from "../file-range.ts";
import type { ArchiveFile, ArchiveFiles } from "./archive-files.ts";
import { FileCursor } from "./cursor.ts";
import { type TarFile, TarIndex } from "./tar-index.ts";

export class TarFiles implements ArchiveFiles {
  readonly path: string;
  readonly totalBytes: number;
  readonly #file: FileHandle;
  readonly #identity: FileIdentity;
  readonly #index: TarIndex;

  private constructor(path: string, file: FileHandle, identity: FileIdentity, index: TarIndex) {
    this.path = path;
    this.#file = file;
    this.#identity = identity;
    this.totalBytes = identity.size;
    this.#index = index;
  }

  /** Scans the headers. Throws DISK, and as {@link TarIndex.read}. */
  static async open(path: string): Promise<TarFiles> {
    const file = await open(path, "r").catch(asDiskError(`read ${path}`));
    try {
      const identity = await identify(file, path);
      const isSame = async (first: TarFile, second: TarFile): Promise<boolean> =>
        await equalRanges(file, first, second, path);
      const index = await TarIndex.read(new FileCursor(file, identity.size, path), path, { isSame });
      return new TarFiles(path, file, identity, index);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  find(name: string): TarFile | undefined {
    return this.#index.find(name);
  }

  async open(file: ArchiveFile, options: OpenOptions = {}): Promise<ByteStream> {
    const { offset = 0 } = options;
    const start = this.#index.find(file.name)?.offset ?? 0;
    return readFileRange(this.#file, start + offset, file.size - offset, `${file.name} in ${this.path}`);
  }

  async refuseChanged(): Promise<void> {
    await refuseChanged(this.#file, this.path, this.#identity);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

async function equalRanges(file: FileHandle, a: TarFile, b: TarFile, path: string): Promise<boolean> {
  const left = readFileRange(file, a.offset, a.size, path);
  const right = readFileRange(file, b.offset, b.size, path);
  try {
    // Both come in pieces of the same lengths.
    for (;;) {
      const [one, two] = [await left.next(), await right.next()];
      if (one.done === true || two.done === true) return one.done === two.done;
      if (Buffer.compare(one.value, two.value) !== 0) return false;
    }
  } finally {
    await left.return();
    await right.return();
  }
}
