/** The beginning of a stream, looked at before it is read. */
import type { ByteStream } from "../../content/content.ts";

/** What has been looked at comes again with the rest. */
export class Peek {
  readonly #chunks: AsyncIterator<Uint8Array, unknown>;
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
  stream(): AsyncIterableIterator<Uint8Array, unknown> {
    const next = (): Promise<IteratorResult<Uint8Array, unknown>> => {
      const known = this.#known;
      if (known.byteLength > 0) {
        this.#known = Buffer.alloc(0);
        return Promise.resolve({ done: false, value: known });
      }
      // Passed on as it is: of a bundle of ours, each chunk goes through here.
      return this.#ended ? Promise.resolve({ done: true, value: undefined }) : this.#chunks.next();
    };
    const end = async (): Promise<IteratorResult<Uint8Array, unknown>> => {
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
