/** The beginning of a stream, looked at before it is read. */
import type { ByteStream } from "../../content/content.ts";

/** What has been looked at comes again with the rest. */
export class Peek {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #known = Buffer.alloc(0);
  #ended = false;

  constructor(stream: ByteStream) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** The bytes of a place; fewer if the stream ends before. */
  async bytes(offset: number, length: number): Promise<Buffer> {
    const parts: Uint8Array[] = [this.#known];
    let got = this.#known.byteLength;
    while (got < offset + length && !this.#ended) {
      const next = await this.#chunks.next();
      if (next.done === true) this.#ended = true;
      else {
        // A chunk is only lent.
        parts.push(Buffer.from(next.value));
        got += next.value.byteLength;
      }
    }
    if (parts.length > 1) this.#known = Buffer.concat(parts);
    return this.#known.subarray(offset, offset + length);
  }

  /** All of the stream. To be called once, when nothing more is looked at. */
  stream(): AsyncIterableIterator<Uint8Array> {
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      const known = this.#known;
      if (known.byteLength > 0) {
        this.#known = Buffer.alloc(0);
        return { done: false, value: known };
      }
      const result = this.#ended ? undefined : await this.#chunks.next();
      return result === undefined || result.done === true
        ? { done: true, value: undefined }
        : { done: false, value: result.value };
    };
    const end = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      await this.close();
      return { done: true, value: undefined };
    };
    return { next, return: end, [Symbol.asyncIterator]: () => this.stream() };
  }

  /** Lets the stream go. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#chunks.return?.();
  }
}
