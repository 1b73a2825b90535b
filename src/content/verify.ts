/**
 * The verifying streams. Every byte that crosses the program goes through one of these: the size is capped
 * first, then the digest compared, and a stream whose content is wrong fails instead of ending.
 */
import type { Hash } from "node:crypto";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, finishDigest, hasherFor } from "../oci/digest.ts";
import {
  type BlobSource,
  type ByteStream,
  hasSeveralPlaces,
  type OpenOptions,
  type Source,
} from "./content.ts";
import { OtherAnswer } from "./other-answer.ts";
import { backoffMs, type Clock, maxAttempts, systemClock } from "./retry.ts";

/** So much of content is looked at to say what it is, if it is wrong. Bytes. */
const headBytes = 64;
/** A connection that brought so many bytes before it broke is made again at once. */
const quickBytes = 16 * 1024;

/**
 * How far some content has been looked at, and whether it is right: sizes first, the digest with the last byte. A
 * copy of it is a point to go on from later.
 */
export class Proof {
  readonly #descriptor: Descriptor;
  readonly #hash: Hash;
  #offset: number;
  #proved = false;
  /** The first bytes, to say what the content is if it is wrong. */
  #head: Uint8Array | undefined;

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
    const copy = new Proof(this.#descriptor, { hash: this.#hash.copy(), offset: this.#offset });
    copy.#head = this.#head;
    return copy;
  }

  /** The hexadecimal hash of what has been looked at so far; not for content that is at its end. */
  hashSoFar(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Throws INTEGRITY if so many more bytes are more than the content may have. */
  admit(bytes: number): void {
    const { size } = this.#descriptor;
    if (this.#offset + bytes > size)
      throw this.#wrong(`got more than the ${size} bytes that its descriptor promises`);
  }

  /** Takes in the next bytes. Throws INTEGRITY if they are too many, or if they are the last and the digest is wrong. */
  update(chunk: Uint8Array): void {
    // A chunk is only lent.
    this.#head ??= Buffer.from(chunk.subarray(0, headBytes));
    this.admit(chunk.byteLength);
    this.#hash.update(chunk);
    this.#offset += chunk.byteLength;
    if (this.#offset === this.#descriptor.size) this.#prove();
  }

  /** The content has ended. Throws INTEGRITY if that is too early, or its digest is wrong. */
  finish(): void {
    const { size } = this.#descriptor;
    if (this.#offset !== size) throw this.#wrong(`got ${this.#offset} bytes, expected ${size}`);
    if (!this.#proved) this.#prove();
  }

  #wrong(state: string): AppError {
    return mismatch(this.#descriptor, state, natureHint(this.#head, this.#descriptor));
  }

  #prove(): void {
    const found = finishDigest(this.#hash, algorithmOf(this.#descriptor.digest));
    if (found !== this.#descriptor.digest) throw this.#wrong(`the content has the digest ${found}`);
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

/**
 * Reads a small blob of a source into memory, verified. A connection that breaks is made again, and content that is
 * wrong is read once more, or from every other place that the source has. Throws as the source does, and INTEGRITY.
 */
export async function readBlob(
  source: Pick<Source, "open">,
  descriptor: Descriptor,
  limit: number,
  options: Omit<ResumeOptions, "clock"> & { readonly clock?: Clock } = {},
): Promise<Buffer> {
  const { clock = systemClock, signal, onRetry } = options;
  const open = async (offset: number, stop?: AbortSignal): Promise<ByteStream> => {
    const call: OpenOptions = { offset, signal: stop };
    return await source.open(descriptor, call);
  };
  const blob = { descriptor, isManifest: false, open };
  return await insisting(source, descriptor, async () =>
    readAll(resuming(blob, { clock, signal, onRetry }), descriptor, limit),
  );
}

/**
 * Runs `move`, and again after INTEGRITY: once, since a bit can flip under way, which tells that from content that is
 * wrong at its source; and from each other place that the source has. `onAgain` is told before. What {@link resuming}
 * has tried often enough is not tried again.
 */
export async function insisting<T>(
  source: object,
  descriptor: Descriptor,
  move: () => Promise<T>,
  onAgain?: (cause: AppError) => void,
): Promise<T> {
  let secondTry = false;
  for (;;) {
    try {
      return await move();
    } catch (error) {
      if (!isAppError(error, "INTEGRITY")) throw error;
      const elsewhere = hasSeveralPlaces(source) && source.distrust(descriptor);
      const tried = error instanceof OtherAnswer && error.passing;
      if (!elsewhere && (secondTry || tried)) throw error;
      secondTry ||= !elsewhere;
      onAgain?.(error);
    }
  }
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
 * After real progress there is no delay, and of many such breaks only the first, the tenth, the hundredth are told.
 * A page in the place of the content is waited for to go away in the same way.
 */
export async function* resuming(blob: BlobSource, options: ResumeOptions): AsyncGenerator<Uint8Array, void> {
  let offset = options.from ?? 0;
  let attempt = 0;
  let breaks = 0;
  for (;;) {
    const from = offset;
    // A source is patient for itself when it cannot be opened.
    let isOpen = false;
    try {
      const stream = await blob.open(offset, options.signal);
      isOpen = true;
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
      if (isOpen && isAppError(error, "NETWORK") && offset === blob.descriptor.size && offset > 0) return;
      const isPage = error instanceof OtherAnswer && error.passing;
      if (!isPage && !(isOpen && isAppError(error, "NETWORK"))) throw error;
      attempt += 1;
      if (options.signal?.aborted || attempt >= maxAttempts) throw error;
      breaks += 1;
      if (offset - from >= quickBytes) {
        if (/^10*$/.test(`${breaks}`)) options.onRetry?.(breaks, 0, error);
        continue;
      }
      const delayMs = backoffMs(attempt, options.clock);
      options.onRetry?.(attempt, delayMs, error);
      await options.clock.sleep(delayMs, options.signal);
    }
  }
}

/** What wrong content is in truth, where its first bytes tell and it is of use to know. */
function natureHint(head: Uint8Array | undefined, { mediaType }: Descriptor): string | undefined {
  const text = Buffer.from(head ?? [])
    .toString("latin1")
    .trimStart();
  const came = "what came instead of the content is";
  if (/^<(?:!doctype html|html|head|body)/i.test(text))
    return `look for a proxy or a login page in front of the registry: ${came} a web page`;
  if (text.startsWith("<?xml")) return `look at the storage behind the registry: ${came} XML`;
  if (text.startsWith("\x1f\x8b") && !/gzip/.test(mediaType))
    return `look for a proxy that compresses: ${came} gzip`;
  if (/^\{\s*"/.test(text) && !/json/.test(mediaType))
    return `look at what the registry answers: ${came} JSON`;
  return undefined;
}

function mismatch(descriptor: Descriptor, state: string, hint?: string): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${descriptor.digest}: ${state}`, {
    hint,
    details: { digest: descriptor.digest, size: descriptor.size },
  });
}
