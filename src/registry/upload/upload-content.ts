/** The content of an upload: one verified pass in request bodies of exact lengths, which can go back and go on. */
import type { ResumeOptions } from "../../content/verify.ts";
import type { ContentBody } from "../http.ts";
import type { ContentProof, UploadItem } from "./item.ts";

/** A point to go back to is kept every so many bytes: so much is read again at most, and hashed but not sent. */
const firstStepBytes = 8 * 1024 * 1024;
/** Points that are kept; beyond that every other one goes. */
const maxPoints = 128;

export interface UploadContentOptions extends Omit<ResumeOptions, "from"> {
  /** Called with the offset (bytes) of what has been handed out. */
  readonly onProgress?: ((offset: number) => void) | undefined;
}

/** Cuts the content into bodies, without copying. */
export class UploadContent {
  readonly #item: UploadItem;
  readonly #options: UploadContentOptions;
  #stream: AsyncGenerator<Uint8Array, void> | undefined;
  #rest: Uint8Array | undefined;
  #proof: ContentProof;
  /** Where the body began that was taken last. */
  #begin: ContentProof | undefined;
  #points: ContentProof[] = [];
  #stepBytes = firstStepBytes;
  #failure: unknown;

  constructor(item: UploadItem, options: UploadContentOptions) {
    this.#item = item;
    this.#options = options;
    this.#proof = item.proof();
  }

  /** Bytes that have been handed out. */
  get offset(): number {
    return this.#proof.offset;
  }

  /** True for the error that reading the source ended with: then it is not the registry that is to blame. */
  failedWith(error: unknown): boolean {
    return this.#failure !== undefined && this.#failure === error;
  }

  /** The next `length` bytes, from `offset` on, as a body. It is to be sent before the next one is taken. */
  async take(offset: number, length: number): Promise<ContentBody> {
    await this.#seek(offset);
    if (this.#item.waits && length > 0) this.#rest ??= await this.#read();
    // The beginning needs no copy (of many small blobs these would cost the most), and what is over is of no use.
    const between = offset > 0 && offset < this.#item.size;
    this.#begin = between ? this.#proof.copy() : undefined;
    return { content: this.#pieces(length), length };
  }

  /** Throws INTEGRITY unless the content ends here, and is right. */
  async finish(): Promise<void> {
    await this.#seek(this.#item.size);
    // A blob of no bytes has a digest too, and something to read that has to be nothing.
    if (this.#item.size === 0) {
      for (let chunk = await this.#read(); chunk !== undefined; chunk = await this.#read());
      this.#proof.finish();
    }
  }

  /** Releases the source. */
  async close(): Promise<void> {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#rest = undefined;
    await stream?.return();
  }

  async #seek(offset: number): Promise<void> {
    if (offset === this.#proof.offset) return;
    await this.close();
    this.#points = this.#points.filter((point) => point.offset <= offset);
    const known = [...this.#points, this.#begin]
      .filter((point) => point !== undefined && point.offset <= offset)
      .reduce((best, point) => ((point?.offset ?? 0) > (best?.offset ?? 0) ? point : best), undefined);
    this.#proof = known?.copy() ?? this.#item.proof();
    for await (const _ of this.#pieces(offset - this.#proof.offset, true)) {
      // What is read again is hashed only.
    }
  }

  /** Proof comes with the end of the content: before its last bytes go out, so that no lie is ever completed. */
  async *#pieces(length: number, silent = false): AsyncGenerator<Uint8Array, void> {
    for (let left = length; left > 0; ) {
      const chunk = this.#rest ?? (await this.#read());
      this.#rest = undefined;
      if (chunk === undefined) return this.#proof.finish();
      const piece = chunk.byteLength <= left ? chunk : chunk.subarray(0, left);
      if (piece.byteLength < chunk.byteLength) this.#rest = chunk.subarray(left);
      left -= piece.byteLength;
      this.#remember();
      this.#proof.update(piece);
      if (!silent) this.#options.onProgress?.(this.#proof.offset);
      yield piece;
    }
  }

  #remember(): void {
    const last = this.#points.at(-1)?.offset ?? 0;
    if (this.#proof.offset - last < this.#stepBytes) return;
    this.#points.push(this.#proof.copy());
    if (this.#points.length <= maxPoints) return;
    this.#points = this.#points.filter((_, index) => index % 2 === 1);
    this.#stepBytes *= 2;
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      this.#stream ??= this.#item.read({ ...this.#options, from: this.#proof.offset });
      for (;;) {
        const { value } = await this.#stream.next();
        if (value === undefined || value === null) return undefined;
        if (value.byteLength === 0) continue;
        this.#proof.admit(value.byteLength);
        return value;
      }
    } catch (error) {
      this.#failure = error;
      // A stream that has failed would only end the next time.
      this.#stream = undefined;
      throw error;
    }
  }
}
