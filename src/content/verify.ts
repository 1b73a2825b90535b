/**
 * The verifying streams. Every byte that crosses the program goes through one of these: the size is capped
 * first, then the digest compared, and a stream whose content is wrong fails instead of ending.
 */
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, finishDigest, hasherFor } from "../oci/digest.ts";
import type { BlobSource, ByteStream } from "./content.ts";
import { backoffMs, type Clock, maxAttempts } from "./retry.ts";

/**
 * Passes bytes on while it hashes them. The last chunk is passed on only when size and digest have proved right, so
 * whoever reads to the end holds the content of the descriptor, and whoever forwards it never completes a lie.
 * Throws INTEGRITY with both digests (descriptor.md "Verification").
 */
export async function* verified(
  stream: ByteStream,
  descriptor: Descriptor,
): AsyncGenerator<Uint8Array, void> {
  const hash = hasherFor(descriptor.digest);
  let seen = 0;
  let proved = false;
  const prove = (): void => {
    const found = finishDigest(hash, algorithmOf(descriptor.digest));
    if (found !== descriptor.digest) throw mismatch(descriptor, `the content has the digest ${found}`);
    proved = true;
  };
  for await (const chunk of stream) {
    if (chunk.byteLength === 0) continue;
    seen += chunk.byteLength;
    if (seen > descriptor.size) {
      throw mismatch(descriptor, `got more than the ${descriptor.size} bytes that its descriptor promises`);
    }
    hash.update(chunk);
    if (seen === descriptor.size) prove();
    yield chunk;
  }
  if (seen !== descriptor.size) throw mismatch(descriptor, `got ${seen} bytes, expected ${descriptor.size}`);
  if (!proved) prove();
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
  readonly signal?: AbortSignal | undefined;
  /** Told before each new try. */
  readonly onRetry?: ((attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/**
 * The bytes of a blob from its start, opened again at the byte that was reached whenever the connection breaks.
 * The budget of tries begins anew with every byte that came (a link that drops often but moves still ends well).
 */
export async function* resuming(blob: BlobSource, options: ResumeOptions): AsyncGenerator<Uint8Array, void> {
  let offset = 0;
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
