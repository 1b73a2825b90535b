/**
 * The verifying streams. Every byte that crosses the program goes through one of these: the size is capped
 * first, then the digest compared, and a stream whose content is wrong fails instead of ending.
 */
import type { Hash } from "node:crypto";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, finishDigest, hasherFor } from "../oci/digest.ts";
import type { BlobSource, ByteStream } from "./content.ts";
import { backoffMs, type Clock, maxAttempts } from "./retry.ts";

/**
 * How far some content has been looked at, and whether it is right: sizes first, the digest with the last byte. A
 * copy of it is a point to go on from later.
 */
export class Proof {
  readonly #descriptor: Descriptor;
  readonly #hash: Hash;
  #offset: number;
  #proved = false;

  constructor(descriptor: Descriptor, from?: { readonly hash: Hash; readonly offset: number }) {
    this.#descriptor = descriptor;
    this.#hash = from?.hash ?? hasherFor(descriptor.digest);
    this.#offset = from?.offset ?? 0;
  }

  /** Bytes that have been looked at. */
  get offset(): number {
    return this.#offset;
  }

  /** The same state, to go on from independently; not for content that is at its end. */
  copy(): Proof {
    return new Proof(this.#descriptor, { hash: this.#hash.copy(), offset: this.#offset });
  }

  /** Throws INTEGRITY if so many more bytes are more than the content may have. */
  admit(bytes: number): void {
    const { size } = this.#descriptor;
    if (this.#offset + bytes > size)
      throw mismatch(this.#descriptor, `got more than the ${size} bytes that its descriptor promises`);
  }

  /** Takes in the next bytes. Throws INTEGRITY if they are too many, or if they are the last and the digest is wrong. */
  update(chunk: Uint8Array): void {
    this.admit(chunk.byteLength);
    this.#hash.update(chunk);
    this.#offset += chunk.byteLength;
    if (this.#offset === this.#descriptor.size) this.#prove();
  }

  /** The content has ended. Throws INTEGRITY if that is too early, or its digest is wrong. */
  finish(): void {
    const { size } = this.#descriptor;
    if (this.#offset !== size)
      throw mismatch(this.#descriptor, `got ${this.#offset} bytes, expected ${size}`);
    if (!this.#proved) this.#prove();
  }

  #prove(): void {
    const found = finishDigest(this.#hash, algorithmOf(this.#descriptor.digest));
    if (found !== this.#descriptor.digest)
      throw mismatch(this.#descriptor, `the content has the digest ${found}`);
    this.#proved = true;
  }
}

/**
 * Passes bytes on while it hashes them. The last chunk is passed on only when size and digest have proved right, so
 * whoever reads to the end holds the content of the descriptor, and whoever forwards it never completes a lie.
 * Throws INTEGRITY with both digests (descriptor.md "Verification").
 */
export async function* verified(
  stream: ByteStream,
  descriptor: Descriptor,
): AsyncGenerator<Uint8Array, void> {
  const proof = new Proof(descriptor);
  for await (const chunk of stream) {
    if (chunk.byteLength === 0) continue;
    proof.update(chunk);
    yield chunk;
  }
  proof.finish();
}

/** Reads small content into memory, verified. Throws INTEGRITY if it is wrong or over `limit` bytes. */
export async function readAll(stream: ByteStream, descriptor: Descriptor, limit: number): Promise<Buffer> {
  if (descriptor.size > limit)
    throw mismatch(descriptor, `it is ${descriptor.size} bytes, and at most ${limit} are read`);
  const chunks: Uint8Array[] = [];
  // A chunk is only lent.
  for await (const chunk of verified(stream, descriptor)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** Reads content to its end for the sake of its digest alone. Throws INTEGRITY if it is wrong. */
export async function proveContent(stream: ByteStream, descriptor: Descriptor): Promise<void> {
  for await (const _ of verified(stream, descriptor)) {
    // The bytes themselves are of no interest.
  }
}

export interface ResumeOptions {
  readonly clock: Clock;
  /** Where to begin, in bytes; 0 if left out. */
  readonly from?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told before each new try. */
  readonly onRetry?: ((attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/**
 * The bytes of a blob from its start (or `from` on), opened again at the byte that was reached whenever the connection breaks.
 * The budget of tries begins anew with every byte that came (a link that drops often but moves still ends well).
 */
export async function* resuming(blob: BlobSource, options: ResumeOptions): AsyncGenerator<Uint8Array, void> {
  let offset = options.from ?? 0;
  let attempt = 0;
  for (;;) {
    // Outside of the retry: a source is patient for itself when it cannot be opened.
    const stream = await blob.open(offset, options.signal);
    try {
      for await (const chunk of stream) {
        offset += chunk.byteLength;
        attempt = 0;
        yield chunk;
      }
      if (offset >= blob.descriptor.size) return;
      const { digest, size } = blob.descriptor;
      throw new AppError(
        "NETWORK",
        `Cannot read ${digest}: the connection ended after ${offset} of ${size} bytes`,
      );
    } catch (error) {
      // The fault came behind the last byte: there is nothing left to ask for.
      if (isAppError(error, "NETWORK") && offset === blob.descriptor.size && offset > 0) return;
      attempt += 1;
      if (!isAppError(error, "NETWORK") || options.signal?.aborted || attempt >= maxAttempts) throw error;
      const delayMs = backoffMs(attempt, options.clock);
      options.onRetry?.(attempt, delayMs, error);
      await options.clock.sleep(delayMs, options.signal);
    }
  }
}

function mismatch(descriptor: Descriptor, state: string): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${descriptor.digest}: ${state}`, {
    details: { digest: descriptor.digest, size: descriptor.size },
  });
}
