/**
 * A tar inside gzip or zstd. One pass finds out what is in it and keeps the small files; each further one gives content
 * to all who wait for it, in the order of the archive.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { ByteStream, OpenOptions } from "../../content/content.ts";
import { once } from "../../content/once.ts";
import { asDiskError } from "../disk.ts";
import { type FileIdentity, identify, refuseChanged } from "../file-identity.ts";
import { foreignFilePaths } from "../metadata.ts";
import type { ArchiveFile, ArchiveFiles } from "./archive-files.ts";
import { decompress } from "./compression.ts";
import { StreamCursor } from "./cursor.ts";
import { type LayerFacts, readLayerFacts } from "./layer-facts.ts";
import { Passes } from "./passes.ts";
import { type TarFile, TarIndex } from "./tar-index.ts";

const pieceBytes = 128 * 1024;
/** Files up to the first size are kept in memory until the second is used up; the same for smaller ones. Bytes. */
const keeping = [
  { upTo: 64 * 1024, together: 64 * 1024 * 1024 },
  { upTo: 4 * 1024 * 1024, together: 16 * 1024 * 1024 },
] as const;

export class CompressedFiles implements ArchiveFiles {
  readonly path: string;
  readonly totalBytes: number;
  readonly #file: FileHandle;
  readonly #identity: FileIdentity;
  readonly #compression: "gzip" | "zstd";
  readonly #kept = new Map<string, Buffer>();
  readonly #facts = new Map<string, LayerFacts>();
  readonly #passes: Passes;
  #index: TarIndex | undefined;

  private constructor(
    path: string,
    { file, identity }: { readonly file: FileHandle; readonly identity: FileIdentity },
    compression: "gzip" | "zstd",
  ) {
    this.path = path;
    this.#file = file;
    this.#identity = identity;
    this.totalBytes = identity.size;
    this.#compression = compression;
    this.#passes = new Passes(() => this.#begin());
  }

  /** Reads all of it once. Throws DISK, and as {@link TarIndex.read}; INTEGRITY for a bomb. */
  static async open(
    path: string,
    compression: "gzip" | "zstd",
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CompressedFiles> {
    const file = await open(path, "r").catch(asDiskError(`read ${path}`));
    try {
      const identity = await identify(file, path);
      const files = new CompressedFiles(path, { file, identity }, compression);
      await files.#look(options.signal);
      return files;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  readonly order = (file: ArchiveFile): number => this.find(file.name)?.offset ?? 0;

  find(name: string): TarFile | undefined {
    return this.#index?.find(name);
  }

  factsOf(file: ArchiveFile): LayerFacts | undefined {
    return this.#facts.get(file.name);
  }

  async open(file: ArchiveFile, options: OpenOptions = {}): Promise<ByteStream> {
    const { offset = 0, signal } = options;
    const kept = this.#kept.get(file.name);
    if (kept !== undefined) return once(kept.subarray(offset));
    const start = this.find(file.name)?.offset ?? 0;
    return await this.#passes.open(start + offset, start + file.size, signal);
  }

  async refuseChanged(): Promise<void> {
    await refuseChanged(this.#file, this.path, this.#identity);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#passes[Symbol.asyncDispose]();
    await this.#file.close();
  }

  /** The first pass. */
  async #look(signal: AbortSignal | undefined): Promise<void> {
    await using cursor = this.#begin(signal);
    const left = keeping.map(({ together }) => together);
    const keeps = ({ name, size }: TarFile): boolean => {
      const at = keeping.findIndex(({ upTo }, index) => size <= upTo && size <= (left[index] ?? 0));
      if (at < 0) return foreignFilePaths.has(name);
      left[at] = (left[at] ?? 0) - size;
      return true;
    };
    this.#index = await TarIndex.read(cursor, this.path, {
      onFile: async (file) => {
        if (keeps(file) && file.size <= keeping[1].upTo) {
          // A copy: what was read may be a part of something far larger.
          this.#kept.set(file.name, Buffer.from(await readWhole(cursor, file.size)));
        } else if (!file.name.startsWith("blobs/") && !foreignFilePaths.has(file.name)) {
          const facts = await readLayerFacts(cursor.content(file.size), `${file.name} in ${this.path}`);
          this.#facts.set(file.name, facts);
        }
      },
      // To compare large files would take another pass, and no tool writes one twice.
      isSame: async (first, second) =>
        this.#kept.get(first.name)?.equals(await readWhole(cursor, second.size)) === true,
    });
    // Whatever is behind the tar is read too: a checksum is there.
    await cursor.skipTo(Number.POSITIVE_INFINITY);
  }

  #begin(signal?: AbortSignal): StreamCursor {
    const stream = decompress(this.#pieces(signal), this.#compression, this.path);
    return new StreamCursor(stream, this.path);
  }

  /** The file as it is, in pieces of their own: the decompressor keeps them for a while. */
  async *#pieces(signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void> {
    for (let at = 0; at < this.totalBytes; ) {
      signal?.throwIfAborted();
      const piece = Buffer.allocUnsafeSlow(pieceBytes);
      const { bytesRead } = await this.#file
        .read(piece, 0, pieceBytes, at)
        .catch(asDiskError(`read ${this.path}`));
      if (bytesRead === 0) return;
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  }
}

async function readWhole(cursor: StreamCursor, length: number): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0);
  const bytes = await cursor.read(length);
  if (bytes === undefined) throw cursor.truncated();
  return bytes;
}
