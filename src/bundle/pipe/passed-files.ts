/**
 * The files of an archive that has gone by: what is small is kept, what is large is hashed on its way, and put away
 * where there is a place for that. So an archive whose names come last is read in one pass.
 */
import type { ByteStream, OpenOptions } from "../../content/content.ts";
import type { PassingContent, Stage } from "../../content/passing-content.ts";
import type { AppError } from "../../errors.ts";
import { algorithmOf, type Digest, finishDigest, hasherFor } from "../../oci/digest.ts";
import { damagedArchive } from "../archive/archive-error.ts";
import { type ArchiveFile, type ArchiveFiles, maxJsonBytes } from "../archive/archive-files.ts";
import { compressionOf, magicBytes } from "../archive/compression.ts";
import { StreamCursor } from "../archive/cursor.ts";
import { type LayerFacts, readLayerFacts } from "../archive/layer-facts.ts";
import { type TarFile, TarIndex } from "../archive/tar-index.ts";
import { foreignFilePaths } from "../metadata.ts";
import { Pieces } from "./held.ts";
import { archiveGoneBy } from "./pipe-errors.ts";
import { Window } from "./window.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
/** Larger files are not kept, in bytes. */
const maxKeptBytes = 4 * MiB;

/** Files up to the first size are kept in memory until the second is used up. Bytes. */
interface Allowance {
  readonly upTo: number;
  readonly together: number;
}
/** JSON, which is read to find out what there is. Beyond that it is put away and read back, where there is a stage. */
const keptJson: readonly Allowance[] = [
  { upTo: 64 * KiB, together: 24 * MiB },
  { upTo: maxKeptBytes, together: 8 * MiB },
];
const keptJsonUnstaged: readonly Allowance[] = [
  { upTo: 64 * KiB, together: 64 * MiB },
  { upTo: maxKeptBytes, together: 16 * MiB },
];
/** Small layers, which are cheaper to send from memory, many at a time. */
const keptOthers: readonly Allowance[] = [{ upTo: maxKeptBytes, together: 16 * MiB }];
const keptOthersUnstaged: readonly Allowance[] = [{ upTo: 4 * KiB, together: 4 * MiB }];

/** What has come of a large file and is not yet stored; and how far back an upload of it can go. Bytes. */
const heldBytes = 40 * MiB;
const replayBytes = 16 * MiB;

export interface PassOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where large files are put; they are hashed only if left out. */
  readonly stage?: Stage | undefined;
  /** Told of each file that was hashed and not kept, with its size in bytes. */
  readonly onProved?: ((bytes: number) => void) | undefined;
  /** Larger files count as large, in bytes; 4 MiB if left out. */
  readonly keptBytes?: number | undefined;
}

export class PassedFiles implements ArchiveFiles {
  readonly path: string;
  readonly #options: PassOptions;
  #pieces = new Pieces(heldBytes);
  /** What is used of each allowance. */
  readonly #used = new Map<Allowance, number>();
  readonly #kept = new Map<string, Buffer>();
  /** What the large ones turned out to be. */
  readonly #facts = new Map<string, LayerFacts>();
  readonly #failures = new Map<string, AppError>();
  #index: TarIndex | undefined;
  #totalBytes = 0;

  private constructor(path: string, options: PassOptions) {
    this.path = path;
    this.#options = options;
  }

  /**
   * Reads a tar to the end of its stream. `path` is what it is called in messages. Throws as {@link TarIndex.read}, and
   * what keeps a large file from being put away: nothing that needs it could be completed.
   */
  static async read(
    stream: AsyncIterable<Uint8Array>,
    path: string,
    options: PassOptions,
  ): Promise<PassedFiles> {
    const files = new PassedFiles(path, options);
    await using cursor = new StreamCursor(stream, path);
    try {
      files.#index = await TarIndex.read(cursor, path, {
        onFile: async (file) => await files.#take(file, cursor),
        isSame: async (first, second) => await files.#isSame(first, second, cursor),
      });
      // Whatever is behind the tar is read too: a checksum is there, and whoever writes is not to fail.
      await cursor.skipTo(Number.POSITIVE_INFINITY);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error;
    }
    files.#totalBytes = cursor.position;
    // What it was used for is over, and its pieces would stay.
    files.#pieces = new Pieces(0);
    return files;
  }

  /** Bytes of the tar. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  find(name: string): TarFile | undefined {
    return this.#index?.find(name);
  }

  async open(file: ArchiveFile, options: OpenOptions = {}): Promise<ByteStream> {
    const { offset = 0 } = options;
    const kept = this.#kept.get(file.name);
    if (kept !== undefined) return once(kept.subarray(offset));
    const failure = this.#failures.get(file.name);
    if (failure !== undefined) throw failure;
    const digest = this.#facts.get(file.name)?.digest;
    const { stage } = this.#options;
    if (digest === undefined || stage === undefined) throw archiveGoneBy(this.path, file.name);
    return await stage.open({ mediaType: "", digest, size: file.size }, options);
  }

  factsOf(file: ArchiveFile): LayerFacts | undefined {
    const facts = this.#facts.get(file.name);
    // Nobody has looked into those that have their digest for a name.
    return digestIn(file.name) === undefined || facts?.compression === undefined ? facts : undefined;
  }

  digestOf(file: ArchiveFile): Digest | undefined {
    return this.#facts.get(file.name)?.digest;
  }

  async refuseChanged(): Promise<void> {
    // What has gone by cannot change any more.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#kept.clear();
  }

  async #take(file: TarFile, cursor: StreamCursor): Promise<void> {
    const { signal, keptBytes = maxKeptBytes } = this.#options;
    signal?.throwIfAborted();
    const { name, size } = file;
    if (foreignFilePaths.has(name)) {
      // Longer ones are refused when they are read.
      if (size <= maxJsonBytes) this.#kept.set(name, await readCopy(cursor, size));
    } else if (size <= keptBytes) {
      const bytes = await readCopy(cursor, size);
      if (this.#keeps(bytes)) this.#kept.set(name, bytes);
      else this.#learn(file, await this.#pass(file, once(bytes)));
    } else this.#learn(file, await this.#pass(file, cursor.content(size)));
  }

  #keeps(bytes: Buffer): boolean {
    const json = /^\s*[[{]/.test(bytes.toString("latin1", 0, 64));
    const staged = this.#options.stage !== undefined;
    const allowances = json
      ? staged
        ? keptJson
        : keptJsonUnstaged
      : staged
        ? keptOthers
        : keptOthersUnstaged;
    const size = bytes.byteLength;
    const found = allowances.find(
      (each) => size <= each.upTo && (this.#used.get(each) ?? 0) + size <= each.together,
    );
    if (found !== undefined) this.#used.set(found, (this.#used.get(found) ?? 0) + size);
    return found !== undefined;
  }

  /** What a file turned out to be that is not kept. */
  #learn({ name, size }: TarFile, facts: LayerFacts): void {
    this.#facts.set(name, facts);
    const named = digestIn(name);
    if (named !== undefined && facts.digest !== named)
      this.#failures.set(name, this.#damaged(named, facts.digest));
    this.#options.onProved?.(size);
  }

  async #isSame(first: TarFile, second: TarFile, cursor: StreamCursor): Promise<boolean> {
    const kept = this.#kept.get(first.name);
    if (kept !== undefined) return kept.equals(await readCopy(cursor, second.size));
    const digest = this.#facts.get(first.name)?.digest;
    if (digest === undefined) return false;
    return (await hashed(cursor.content(second.size), digest)).digest === digest;
  }

  /** A large file goes by. Gives what it turned out to be. */
  async #pass(file: TarFile, content: ByteStream): Promise<LayerFacts> {
    const { signal, stage } = this.#options;
    const named = digestIn(file.name);
    const isThere =
      stage === undefined ||
      (named !== undefined &&
        (await stage.has({ mediaType: "", digest: named, size: file.size }, { signal })));
    return isThere ? await this.#look(file, content) : await this.#store(file, content, stage);
  }

  async #look(file: TarFile, content: ByteStream): Promise<LayerFacts> {
    const named = digestIn(file.name);
    if (named !== undefined) return await hashed(content, named);
    return await readLayerFacts(content, `${file.name} in ${this.path}`);
  }

  /** Hashes a file and puts it away at the same time. */
  async #store(file: TarFile, content: ByteStream, stage: Stage): Promise<LayerFacts> {
    const { signal } = this.#options;
    const named = digestIn(file.name);
    const window = new Window(this.#pieces, file.size, () => archiveGoneBy(this.path, file.name));
    let stopped: { readonly reason: unknown } | undefined;
    const through = async function* (): AsyncGenerator<Uint8Array, void> {
      for await (const chunk of content) {
        signal?.throwIfAborted();
        await window.append(chunk);
        if (stopped !== undefined) throw stopped.reason;
        yield chunk;
      }
    };
    const looking = this.#look(file, through());
    const passing: PassingContent = {
      name: named ?? file.name,
      size: file.size,
      replayBytes,
      open: async (offset, stop) => window.read(offset, stop),
      onStored: (offset) => window.settle(offset),
      digest: async () => {
        const { digest } = await looking;
        if (named !== undefined && digest !== named) throw this.#damaged(named, digest);
        return digest;
      },
    };
    const storing = stage.stage(passing, { signal }).finally(() => window.close());
    storing.catch((reason: unknown) => {
      stopped = { reason };
    });
    looking.catch((reason: unknown) => window.fail(reason));
    const [looked, stored] = await Promise.allSettled([looking, storing]);
    if (looked.status === "rejected") throw looked.reason;
    const wrong = named !== undefined && looked.value.digest !== named;
    // What is damaged costs the images that need it, and no others.
    if (stored.status === "rejected" && !wrong) throw stored.reason;
    return looked.value;
  }

  #damaged(named: Digest, found: Digest): AppError {
    return damagedArchive(this.path, `${named} in it is damaged: the content has the digest ${found}`);
  }
}

/** The digest that a file has for its name. */
function digestIn(name: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/.exec(name) ?? [];
  return hex === undefined ? undefined : (`${algorithm}:${hex}` as Digest);
}

/** Reads content for its digest, by the algorithm of another one. */
async function hashed(content: ByteStream, like: Digest): Promise<LayerFacts> {
  const hash = hasherFor(like);
  let head = Buffer.alloc(0);
  for await (const chunk of content) {
    if (head.byteLength < magicBytes) head = Buffer.concat([head, chunk.subarray(0, magicBytes)]);
    hash.update(chunk);
  }
  const digest = finishDigest(hash, algorithmOf(like));
  const compression = compressionOf(head);
  return { compression, digest, diffId: compression === undefined ? digest : undefined };
}

/** The next bytes as a copy: what was read may be a part of something far larger, and is only lent. */
async function readCopy(cursor: StreamCursor, length: number): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0);
  const bytes = await cursor.read(length);
  if (bytes === undefined) throw cursor.truncated();
  return Buffer.from(bytes);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  if (bytes.byteLength > 0) yield bytes;
}
