/** A way through an archive from its beginning to its end: in a file it jumps, in a stream it reads along. */
import type { FileHandle } from "node:fs/promises";
import type { ByteStream } from "../../content/content.ts";
import { readInto } from "../disk.ts";
import { readFileRange } from "../file-range.ts";
import { damagedArchive } from "./archive-error.ts";

/** A place in an archive that moves forward only. Positions and lengths in bytes. */
export interface Cursor {
  readonly position: number;
  /** The size of the archive, where it is known beforehand. */
  readonly size: number | undefined;
  /**
   * Exactly so many bytes, valid until the next call; undefined if the archive has ended here. Throws INTEGRITY if it
   * ends in between.
   */
  read(length: number): Promise<Buffer | undefined>;
  /** The same where it costs no waiting, which of millions of small entries is the greater part; undefined otherwise. */
  ready(length: number): Buffer | undefined;
  /** The next `length` bytes as a stream. */
  content(length: number): ByteStream;
  /** Goes to a position. One behind the end is met by the next `read`. */
  skipTo(position: number): Promise<void>;
}

/** What is read at once where headers lie far apart, and where they are close to each other. Bytes. */
const farBytes = 4 * 1024;
const nearBytes = 64 * 1024;

/** A cursor in a file: content that nobody wants is never read. */
export class FileCursor implements Cursor {
  position = 0;
  readonly size: number;
  readonly #path: string;
  readonly #file: FileHandle;
  #window = Buffer.alloc(0);
  #windowStart = 0;

  constructor(file: FileHandle, size: number, path: string) {
    this.#file = file;
    this.size = size;
    this.#path = path;
  }

  async read(length: number): Promise<Buffer | undefined> {
    if (this.position >= this.size) return undefined;
    if (this.position + length > this.size) throw truncated(this.#path, this.size);
    const known = this.ready(length);
    if (known !== undefined) return known;
    const at = this.position;
    this.position += length;
    const from = at - this.#windowStart;
    const near = from >= 0 && from <= this.#window.byteLength + blockSlack;
    const wanted = Math.max(length, near ? nearBytes : farBytes);
    const bytes = Buffer.allocUnsafeSlow(Math.min(wanted, this.size - at));
    this.#window = await readInto(this.#file, bytes, at, this.#path);
    this.#windowStart = at;
    return this.#window.subarray(0, length);
  }

  ready(length: number): Buffer | undefined {
    const from = this.position - this.#windowStart;
    if (from < 0 || from + length > this.#window.byteLength) return undefined;
    this.position += length;
    return this.#window.subarray(from, from + length);
  }

  content(length: number): ByteStream {
    const from = this.position;
    this.position += length;
    return readFileRange(this.#file, from, length, this.#path);
  }

  async skipTo(position: number): Promise<void> {
    this.position = position;
  }
}

/** A header that lies so close behind what was read counts as near. Bytes. */
const blockSlack = 4 * 1024;

/** A cursor in a stream. What it gives is as valid as the chunks of the stream are. */
export class StreamCursor implements Cursor, AsyncDisposable {
  position = 0;
  readonly size = undefined;
  readonly #path: string;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #ended = false;

  constructor(stream: AsyncIterable<Uint8Array>, path: string) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#path = path;
  }

  async read(length: number): Promise<Buffer | undefined> {
    const first = await this.take(length);
    if (first === undefined) return undefined;
    if (first.byteLength === length) return Buffer.from(first.buffer, first.byteOffset, length);
    // A chunk may only be lent.
    const parts = [Buffer.from(first)];
    for (let got = first.byteLength; got < length; ) {
      const part = await this.take(length - got);
      if (part === undefined) throw truncated(this.#path, this.position);
      parts.push(Buffer.from(part));
      got += part.byteLength;
    }
    return Buffer.concat(parts);
  }

  ready(length: number): Buffer | undefined {
    if (this.#rest.byteLength < length) return undefined;
    const { buffer, byteOffset } = this.#rest;
    this.#rest = this.#rest.subarray(length);
    this.position += length;
    return Buffer.from(buffer, byteOffset, length);
  }

  /** The next bytes, at most so many; undefined at the end. */
  async take(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      if (this.#ended) return undefined;
      const next = await this.#chunks.next();
      if (next.done === true) this.#ended = true;
      else this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(piece.byteLength);
    this.position += piece.byteLength;
    return piece;
  }

  async *content(length: number): AsyncGenerator<Uint8Array, void> {
    const end = this.position + length;
    while (this.position < end) {
      const piece = await this.take(end - this.position);
      if (piece === undefined) throw truncated(this.#path, this.position);
      yield piece;
    }
  }

  async skipTo(position: number): Promise<void> {
    while (this.position < position && (await this.take(position - this.position)) !== undefined);
  }

  /** The error for content that should go on here. */
  truncated(): Error {
    return truncated(this.#path, this.position);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    this.#rest = new Uint8Array(0);
    await this.#chunks.return?.();
  }
}

function truncated(path: string, at: number): Error {
  return damagedArchive(path, `it is truncated, there is nothing behind byte ${at}`);
}
