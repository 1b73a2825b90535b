/** Content that an earlier bundle has, and that need not be fetched. */
import type { ByteStream, OpenOptions } from "../content/content.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";

/** An earlier bundle. */
export interface Reusable {
  /** What messages call it. */
  readonly path: string;
  has(digest: Digest): boolean;
  /** What of it is not there, though the bundle has it; see {@link BundleReader.lacking}. */
  lacking(digest: Digest): readonly string[];
  open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream>;
}

/** One content of it, read from an offset (bytes) on, which knows its own failure from that of whoever writes it. */
export class Reading implements AsyncIterable<Uint8Array> {
  readonly #old: Reusable;
  readonly #descriptor: Descriptor;
  readonly #offset: number;
  #failure: unknown;

  constructor(old: Reusable, descriptor: Descriptor, offset: number) {
    this.#old = old;
    this.#descriptor = descriptor;
    this.#offset = offset;
  }

  /** True for the error that reading ended with. */
  failedWith(error: unknown): boolean {
    return this.#failure !== undefined && this.#failure === error;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    try {
      yield* await this.#old.open(this.#descriptor, { offset: this.#offset });
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }
}
