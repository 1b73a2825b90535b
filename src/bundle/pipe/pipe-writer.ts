/**
 * A bundle into a pipe: the bytes of the file, in their order. The blob whose turn it is goes straight through; what
 * comes before its turn waits in memory. What is in the pipe cannot be taken back: a blob is written when it has
 * proved right, where it fits into memory, and the end of the bundle only when everything has.
 */
import type { BlobSource, ByteStream, Pushed, PushOptions, Target } from "../../content/content.ts";
import type { ManifestStore } from "../../content/manifest-store.ts";
import type { Passage } from "../../content/passage.ts";
import type { Clock } from "../../content/retry.ts";
import { proveContent, resuming, verified } from "../../content/verify.ts";
import { AppError, isAppError, toAppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { type Digest, shortDigest } from "../../oci/digest.ts";
import type { BlobEntry, Layout, LayoutEntry } from "../layout.ts";
import { isFailureOfOld, type Reusable } from "../reusable.ts";
import { endBytes, paddingOf } from "../tar-header.ts";
import { Held, Pieces } from "./held.ts";

/** Content that waits for its turn, in all. Bytes. */
const heldBytes = 48 * 1024 * 1024;

/** Header, content and padding of a blob up to this size are written at once. Bytes. */
const smallBytes = 64 * 1024;
const empty = Buffer.alloc(0);

/** Takes bytes in order. */
export interface ByteSink {
  /** Resolves when the bytes are not in use any more. Throws DISK. */
  write(bytes: Uint8Array): Promise<void>;
}

export interface PipeWriterOptions {
  readonly clock: Clock;
  /** Earlier bundles to take content from. */
  readonly reuse: readonly Reusable[];
  readonly onNote: (message: string) => void;
  readonly onRetry: (what: string, attempt: number, delayMs: number, cause: AppError) => void;
}

interface Waiting {
  readonly entry: BlobEntry;
  readonly begin: () => void;
}

/** Writes one bundle. */
export class PipeWriter implements Target, Passage {
  readonly #sink: ByteSink;
  readonly #layout: Layout;
  readonly #options: PipeWriterOptions;
  readonly #blobs: readonly BlobEntry[];
  readonly #positions: ReadonlyMap<Digest, number>;
  readonly #pieces = new Pieces(heldBytes);
  readonly #waiting = new Set<Waiting>();
  /** What is allowed to come before its turn, and has room for that. */
  readonly #ahead = new Map<Digest, Held>();
  /** Of these, what has come and is right. */
  readonly #ready = new Set<Digest>();
  #reserved = 0;
  /** The position of the blob whose turn it is. */
  #at = 0;
  #writing: Promise<void> = Promise.resolve();
  #isDraining = false;
  /** What the bundle broke off with, in the middle of a blob or because nobody reads it any more. */
  #broken: AppError | undefined;

  private constructor(
    sink: ByteSink,
    layout: Layout,
    options: PipeWriterOptions,
    front: ReadonlySet<Digest>,
  ) {
    this.#sink = sink;
    this.#layout = layout;
    this.#options = options;
    this.#blobs = [...layout.blobs.values()].filter(({ digest }) => !front.has(digest));
    this.#positions = new Map(this.#blobs.map(({ digest }, position) => [digest, position]));
  }

  /** Begins a bundle with its metadata and the manifests, which are in memory. Throws DISK. */
  static async begin(
    sink: ByteSink,
    layout: Layout,
    manifests: ManifestStore,
    options: PipeWriterOptions,
  ): Promise<PipeWriter> {
    const whole = async (entry: LayoutEntry, bytes: Uint8Array): Promise<void> =>
      await sink.write(Buffer.concat([entry.header, bytes, Buffer.alloc(paddingOf(entry.size))]));
    for (const entry of layout.metadata) await whole(entry, entry.bytes);
    const front = new Set<Digest>();
    for (const entry of layout.blobs.values()) {
      // Manifests come first. What is a manifest here and a layer there may lie behind them.
      if (!manifests.has(entry.digest)) break;
      await whole(entry, manifests.get(entry.digest));
      front.add(entry.digest);
    }
    return new PipeWriter(sink, layout, options, front);
  }

  async has({ digest }: Descriptor): Promise<boolean> {
    return this.#layout.blobs.has(digest) && !this.#positions.has(digest);
  }

  /** Takes a blob that was admitted. Throws INTEGRITY if the content is wrong, DISK if it cannot be written. */
  async push(blob: BlobSource, options: PushOptions = {}): Promise<Pushed> {
    const { descriptor } = blob;
    const position = this.#positions.get(descriptor.digest);
    const entry = position === undefined ? undefined : this.#blobs[position];
    if (entry === undefined) return "present";
    if (this.#broken !== undefined) throw this.#broken;
    options.onStart?.();
    const old = await this.#findOld(entry, descriptor, options);
    const { clock, onRetry } = this.#options;
    const content =
      old ??
      resuming(blob, {
        clock,
        signal: options.signal,
        onRetry: (attempt, delayMs, cause) => onRetry(`read ${descriptor.digest}`, attempt, delayMs, cause),
      });
    const held = this.#ahead.get(entry.digest);
    if (held === undefined) await this.#through(entry, descriptor, content, options);
    else await this.#hold(held, descriptor, content, options);
    return old === undefined ? "stored" : "kept";
  }

  async tag(): Promise<void> {
    // The names are in the metadata.
  }

  position(digest: Digest): number {
    return this.#positions.get(digest) ?? -1;
  }

  async admit({ digest }: Descriptor, signal: AbortSignal): Promise<void> {
    const entry = this.#blobs[this.position(digest)];
    if (entry === undefined) return;
    const { promise, resolve: begin, reject } = Promise.withResolvers<void>();
    const waiting = { entry, begin };
    this.#waiting.add(waiting);
    if (this.#broken !== undefined) begin();
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    this.#admitNext();
    await promise.finally(() => {
      this.#waiting.delete(waiting);
      signal.removeEventListener("abort", stop);
    });
  }

  release(): void {
    // What was not written is missing, and the bundle ends there.
  }

  /** Ends the bundle, and gives its size in bytes. Throws DISK if it cannot be written. */
  async commit(): Promise<number> {
    await this.#writing;
    if (this.#broken !== undefined) throw this.#broken;
    const missing = this.#blobs[this.#at];
    if (missing !== undefined) throw new AppError("INTERNAL", `${missing.digest} was never written`);
    await this.#sink.write(Buffer.alloc(endBytes));
    return this.#layout.totalBytes;
  }

  /** In the order of the bundle: what there is room for may come, and the very next one at any rate. */
  #admitNext(): void {
    for (const waiting of this.#waiting) {
      const { entry, begin } = waiting;
      const isNext = entry === this.#blobs[this.#at];
      const fits = this.#reserved + entry.size <= heldBytes;
      if (!isNext && !fits) continue;
      this.#waiting.delete(waiting);
      if (fits) {
        this.#reserved += entry.size;
        this.#ahead.set(entry.digest, new Held(this.#pieces, entry.size));
      }
      begin();
    }
  }

  /** Brings a blob into memory, and writes it when its turn has come. */
  async #hold(
    earlier: Held,
    descriptor: Descriptor,
    content: ByteStream,
    options: PushOptions,
  ): Promise<void> {
    // Of a try that has failed.
    earlier.clear();
    const fresh = new Held(this.#pieces, descriptor.size);
    this.#ahead.set(descriptor.digest, fresh);
    for await (const chunk of verified(content, descriptor)) {
      options.signal?.throwIfAborted();
      fresh.append(chunk);
      options.onProgress?.(fresh.end);
    }
    this.#ready.add(descriptor.digest);
    this.#drain();
  }

  /** The blob whose turn it is, straight from where it comes from. */
  async #through(
    entry: BlobEntry,
    descriptor: Descriptor,
    content: ByteStream,
    options: PushOptions,
  ): Promise<void> {
    await this.#writing;
    let written = 0;
    let writing: Promise<void> = Promise.resolve();
    try {
      for await (const chunk of verified(content, descriptor)) {
        options.signal?.throwIfAborted();
        await writing;
        if (written === 0) await this.#sink.write(entry.header);
        written += chunk.byteLength;
        // While it is written, the next one comes.
        writing = this.#sink.write(chunk);
        writing.catch(() => undefined);
        options.onProgress?.(written);
      }
      await writing;
      await this.#sink.write(Buffer.alloc(paddingOf(entry.size)));
    } catch (error) {
      await writing.catch(() => undefined);
      // Another try would begin anew, behind what is in the pipe already.
      if (written > 0 || isAppError(error, "DISK")) this.#broken = toAppError(error);
      throw error;
    }
    this.#at += 1;
    this.#drain();
    this.#admitNext();
  }

  /** Writes what has come, as far as it is next. */
  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#writing = this.#writeReady().catch((error: unknown) => {
      this.#broken = toAppError(error);
      // No turn comes any more: whoever waits for one learns why.
      for (const { begin } of this.#waiting) begin();
    });
  }

  async #writeReady(): Promise<void> {
    for (;;) {
      const entry = this.#blobs[this.#at];
      const held = entry === undefined ? undefined : this.#ahead.get(entry.digest);
      if (entry === undefined || held === undefined || !this.#ready.has(entry.digest)) {
        // Before anything else can run: whoever brings the next one has to find it so.
        this.#isDraining = false;
        return;
      }
      await this.#writeHeld(entry, held);
      held.clear();
      this.#ahead.delete(entry.digest);
      this.#reserved -= entry.size;
      this.#at += 1;
      this.#admitNext();
    }
  }

  async #writeHeld(entry: BlobEntry, held: Held): Promise<void> {
    const padding = Buffer.alloc(paddingOf(entry.size));
    if (entry.size <= smallBytes)
      return await this.#sink.write(Buffer.concat([entry.header, held.from(0) ?? empty, padding]));
    await this.#sink.write(entry.header);
    for (let at = 0; at < entry.size; ) {
      const piece = held.from(at);
      if (piece === undefined) throw new AppError("INTERNAL", `${entry.digest} is not held`);
      await this.#sink.write(piece);
      at += piece.byteLength;
    }
    await this.#sink.write(padding);
  }

  /** The content in an earlier bundle, if one has it undamaged. */
  async #findOld(
    { digest }: BlobEntry,
    descriptor: Descriptor,
    { signal }: PushOptions,
  ): Promise<ByteStream | undefined> {
    for (const old of this.#options.reuse) {
      if (!old.has(digest) || old.lacking(digest).length > 0) continue;
      try {
        // Read twice, since what is in the pipe cannot be taken back.
        await proveContent(await old.open(descriptor, { signal }), descriptor);
        return await old.open(descriptor, { signal });
      } catch (error) {
        signal?.throwIfAborted();
        if (!isFailureOfOld(error)) throw error;
        const state = error.code === "INTEGRITY" ? `${old.path} holds damaged content` : error.message;
        this.#options.onNote(`${state}: ${shortDigest(digest)} is fetched`);
      }
    }
    return undefined;
  }
}
