/** Finds out what comes through a pipe, by its first bytes: a bundle of ours, or an archive of another tool. */
import type { ByteStream, CallOptions } from "../../content/content.ts";
import { AppError } from "../../errors.ts";
import { ArchiveBundle, type ArchiveOptions } from "../archive/archive-bundle.ts";
import { unreadArchive } from "../archive/archive-error.ts";
import { compressionOf, decompress, magicBytes } from "../archive/compression.ts";
import { diskError } from "../disk.ts";
import { foreignFilePaths, mirrorFilePath } from "../metadata.ts";
import { blockBytes, paddingOf, readHeader, tarHeader } from "../tar-header.ts";
import { PassedFiles, type PassOptions } from "./passed-files.ts";
import { Peek } from "./peek.ts";
import { nothingCame } from "./pipe-errors.ts";
import { PipeReader } from "./pipe-reader.ts";

const layoutPath = "oci-layout";
/** No more is looked at, in bytes, to find mirror.json. */
const maxFrontBytes = 32 * 1024 * 1024;

export interface PipedOptions extends CallOptions {
  /** What the user calls the image. With a name, a bundle of ours is read as the OCI layout that it is, without its own names. */
  readonly tag?: string | undefined;
}

/**
 * Looks at the beginning of a stream. `name` is what it is called in messages. Throws BUNDLE if it is of nothing that is
 * read, INTEGRITY if it is damaged, DISK if it cannot be read.
 */
export async function openPiped(
  stream: ByteStream,
  name: string,
  options: PipedOptions = {},
): Promise<PipeReader | PipedArchive> {
  const { signal, tag } = options;
  let peek = new Peek(stream);
  const stop = (): void => void peek.close().catch(() => undefined);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const head = await peek.bytes(0, magicBytes);
    if (head.byteLength === 0) throw nothingCame(name);
    const compression = compressionOf(head);
    if (compression === "gzip" || compression === "zstd")
      peek = new Peek(decompress(copied(readable(peek.stream(), name, signal)), compression, name));
    else if (compression !== undefined)
      throw unreadArchive(
        name,
        `it is compressed with ${compression}`,
        `decompress it on its way: ${compression} --decompress --stdout FILE | mirror ...`,
      );
    const ours = tag === undefined && (await isOurs(peek));
    return ours ? await PipeReader.open(peek.stream(), name) : new PipedArchive(peek, name);
  } catch (error) {
    await peek.close().catch(() => undefined);
    signal?.throwIfAborted();
    throw error instanceof AppError ? error : diskError(`read ${name}`, error);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** An archive of another tool in a pipe, of which nothing has been read yet. */
export class PipedArchive implements AsyncDisposable {
  readonly path: string;
  readonly #peek: Peek;

  constructor(peek: Peek, path: string) {
    this.#peek = peek;
    this.path = path;
  }

  /** Reads all of it, once. Throws as {@link PassedFiles.read} and {@link ArchiveBundle.open} do. */
  async read(options: ArchiveOptions & PassOptions): Promise<ArchiveBundle> {
    const stream = readable(this.#peek.stream(), this.path, options.signal);
    return await ArchiveBundle.open(await PassedFiles.read(stream, this.path, options), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#peek.close().catch(() => undefined);
  }
}

/** True for a bundle of ours, also for one whose front is damaged or cut off: whoever reads it says so. */
async function isOurs(peek: Peek): Promise<boolean> {
  const first = await peek.bytes(0, blockBytes);
  let offset = 0;
  for (let count = 0; count <= foreignFilePaths.size; count += 1) {
    const block = await peek.bytes(offset, blockBytes);
    if (block.byteLength < blockBytes) return count > 0;
    const header = headerOf(block);
    // One damaged bit leaves the name of our own first file standing.
    if (header === "damaged")
      return count > 0 || first.toString("latin1", 0, layoutPath.length) === layoutPath;
    if (header?.name === mirrorFilePath) return true;
    if (header === undefined || !foreignFilePaths.has(header.name) || !Number.isSafeInteger(header.size))
      return false;
    if (offset + header.size > maxFrontBytes) return first.equals(await ourFirst(first));
    offset += blockBytes + header.size + paddingOf(header.size);
  }
  return false;
}

function headerOf(block: Buffer): ReturnType<typeof readHeader> | "damaged" {
  try {
    return readHeader(block);
  } catch {
    return "damaged";
  }
}

/** The header that our first file would have with the size that is said here. */
async function ourFirst(block: Buffer): Promise<Buffer> {
  return await tarHeader(layoutPath, readHeader(block)?.size ?? 0);
}

/** The stream with its failures in words. It ends where the signal says so, whatever it waits for. */
function readable(
  stream: ByteStream,
  name: string,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  const chunks = stream[Symbol.asyncIterator]();
  const stop = (): void => void chunks.return?.().catch(() => undefined);
  signal?.addEventListener("abort", stop, { once: true });
  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    try {
      const result = await chunks.next();
      signal?.throwIfAborted();
      return result.done === true ? { done: true, value: undefined } : { done: false, value: result.value };
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof AppError ? error : diskError(`read ${name}`, error);
    }
  };
  const end = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    signal?.removeEventListener("abort", stop);
    await chunks.return?.();
    return { done: true, value: undefined };
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) };
}

/** The same in chunks of their own: a decompressor keeps them for a while. */
async function* copied(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of stream) yield Buffer.from(chunk);
}
