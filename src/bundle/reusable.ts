/** Content that an earlier bundle has, and that need not be fetched. */
import { type AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Bundle } from "./bundle.ts";

/** An earlier bundle, or an archive of another tool. */
export type Reusable = Pick<Bundle, "path" | "has" | "lacking" | "open">;

/** True for a failure of it, after which others have to be asked. */
export function isFailureOfOld(error: unknown): error is AppError {
  return isAppError(error, "INTEGRITY", "DISK", "NOT_FOUND");
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
