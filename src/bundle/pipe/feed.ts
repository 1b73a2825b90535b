/** Bytes that come out of a pipe, cut as they are wanted. */
import type { ByteStream } from "../../content/content.ts";

/** The stream has ended before what was wanted of it. */
export class Ended extends Error {}

/** One pass over a stream. */
export class Feed {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  #offset = 0;
  #ended = false;

  constructor(stream: ByteStream) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** Bytes that have been taken. */
  get offset(): number {
    return this.#offset;
  }

  /** Up to `most` bytes, lent until the next call; undefined at the end. Throws what the stream throws. */
  async next(most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      if (this.#ended) return undefined;
      const result = await this.#chunks.next();
      if (result.done === true) this.#ended = true;
      else this.#rest = result.value;
    }
    const taken = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(taken.byteLength);
    this.#offset += taken.byteLength;
    return taken;
  }

  /** As {@link next}, where there has to be something. Throws {@link Ended}. */
  async some(most: number): Promise<Uint8Array> {
    const taken = await this.next(most);
    if (taken === undefined) throw new Ended();
    return taken;
  }

  /** Exactly so many bytes, as a copy. Throws {@link Ended}. */
  async exactly(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let at = 0; at < length; ) {
      const taken = await this.some(length - at);
      bytes.set(taken, at);
      at += taken.byteLength;
    }
    return bytes;
  }

  /** Lets the stream go. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
