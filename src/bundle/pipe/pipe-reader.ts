/**
 * A bundle that comes through a pipe, read in one pass. Its front tells all that a plan needs; behind it the blobs go
 * by in their order, each as fast as it is taken. What is not wanted is hashed and dropped.
 */
import type {
  ByteStream,
  ManifestOptions,
  OpenOptions,
  RawManifest,
  SeveralPlaces,
} from "../../content/content.ts";
import { once } from "../../content/once.ts";
import type { Passage, PassingSource } from "../../content/passage.ts";
import { AppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Bundle } from "../bundle.ts";
import type { BundleBase, Leaning } from "../delta.ts";
import { diskError } from "../disk.ts";
import type { BlobEntry } from "../layout.ts";
import type { BundleImage } from "../metadata.ts";
import { endBytes, paddingOf } from "../tar-header.ts";
import { Bell } from "./bell.ts";
import { Ended, Feed } from "./feed.ts";
import { type Front, readEntryHeader, readFront } from "./front.ts";
import { Gate } from "./gate.ts";
import { Pieces } from "./held.ts";
import { PassingBlob, type PassingPlace } from "./passing-blob.ts";
import { damaged, endedEarly, goneBy } from "./pipe-errors.ts";
import { FrontTable } from "./table.ts";

/** Content that has come and is not yet where it belongs, in all. Bytes. */
const heldBytes = 56 * 1024 * 1024;
/** Pieces of a blob that can be sent again. Bytes. */
const replayBytes = 16 * 1024 * 1024;

/** What is wrong with the stream; with the digest of the content, if it is one blob. */
export interface PipeProblem {
  readonly digest?: Digest;
  readonly error: AppError;
}

/** Told of each blob that has gone by and was not wanted, with its size in bytes. */
export type OnDropped = (digest: Digest, size: number) => void;

/** A bundle in a pipe. Dispose of it when done: whoever writes learns of it then. */
export class PipeReader implements Bundle, Leaning, SeveralPlaces, Passage, PassingSource {
  readonly path: string;
  readonly images: readonly BundleImage[];
  /** What it leans on, if it is a delta: these blobs do not come. */
  readonly base: BundleBase | undefined;
  readonly fingerprint: Digest;
  /** Size of the bundle in bytes. */
  readonly totalBytes: number;
  readonly replayBytes = replayBytes;
  readonly #feed: Feed;
  readonly #table: FrontTable;
  readonly #blobs: readonly BlobEntry[];
  readonly #positions: ReadonlyMap<Digest, number>;
  readonly #place: PassingPlace;
  readonly #configs: number;
  /** Configs that were read beforehand. */
  readonly #kept = new Map<Digest, Uint8Array>();
  /** What is wanted and not yet released; and of it, what is about to come or has come. */
  readonly #wanted = new Set<Digest>();
  readonly #live = new Map<Digest, PassingBlob>();
  readonly #gate = new Gate();
  readonly #problems: PipeProblem[] = [];
  #passed: Promise<void> | undefined;
  /** The position of the blob that goes by. */
  #at = 0;
  #isClosed = false;
  /** Where the stream broke, and why. */
  #brokenAt = Number.POSITIVE_INFINITY;
  #cause: unknown;

  private constructor(feed: Feed, name: string, front: Front) {
    const { description, layout, manifests, fingerprint } = front;
    const table = new FrontTable(name, front);
    this.path = name;
    this.images = table.images;
    this.base = table.base;
    this.fingerprint = fingerprint;
    this.totalBytes = layout.totalBytes;
    this.#feed = feed;
    this.#table = table;
    this.#blobs = [...layout.blobs.values()].filter(({ digest }) => !manifests.has(digest));
    this.#positions = new Map(this.#blobs.map(({ digest }, position) => [digest, position]));
    const configs = new Set(description.contents.configs.map(({ digest }) => digest));
    this.#configs = this.#blobs.findIndex(({ digest }) => !configs.has(digest));
    this.#place = { pieces: new Pieces(heldBytes), bell: new Bell(), name };
  }

  /**
   * Reads the front of a bundle. `name` is what the stream is called in messages. Throws BUNDLE if it is of something
   * else, INTEGRITY if it is damaged, DISK if it cannot be read.
   */
  static async open(stream: ByteStream, name: string): Promise<PipeReader> {
    const feed = new Feed(stream);
    try {
      return new PipeReader(feed, name, await readFront(feed, name));
    } catch (error) {
      await feed.close().catch(() => undefined);
      throw error instanceof AppError ? error : diskError(`read ${name}`, error);
    }
  }

  async resolve(reference: string): Promise<Descriptor> {
    return this.#table.resolve(reference);
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    return this.#table.manifest(reference, options);
  }

  async open(descriptor: Descriptor, { offset = 0, signal }: OpenOptions = {}): Promise<ByteStream> {
    const { digest } = descriptor;
    const entry = this.#table.entry(descriptor);
    const kept = this.#kept.get(digest);
    if (kept !== undefined) return once(kept.subarray(offset));
    const blob = this.#blobOf(entry);
    if (blob === undefined) throw goneBy(this.path, digest);
    return blob.read(offset, signal);
  }

  /** True if the bundle has this content, by its table of contents. */
  has(digest: Digest): boolean {
    return this.#table.has(digest);
  }

  /** Nothing: it is never in volumes. */
  lacking(): readonly string[] {
    return [];
  }

  /** True for content that does not come, since it is a delta and leans on it. */
  leavesOut(part: Pick<Descriptor, "digest" | "size">): boolean {
    return this.#table.leavesOut(part);
  }

  async refuseChanged(): Promise<void> {
    // What has gone by cannot change any more.
  }

  /** Content was wrong as it came: there is no other place. */
  distrust({ digest }: Descriptor): boolean {
    this.#live.get(digest)?.doubt();
    return false;
  }

  settle(digest: Digest, offset: number): void {
    this.#live.get(digest)?.settle(offset);
  }

  position(digest: Digest): number {
    return this.#positions.get(digest) ?? -1;
  }

  /** Asked for in the order of the stream: a transfer begins when its content is about to come. */
  async admit({ digest }: Descriptor, signal: AbortSignal): Promise<void> {
    const entry = this.#blobs[this.position(digest)];
    if (entry !== undefined) await this.#gate.reached(entry.headerOffset, signal);
  }

  release(digest: Digest): void {
    const blob = this.#live.get(digest);
    this.#wanted.delete(digest);
    this.#live.delete(digest);
    blob?.release();
    if (blob !== undefined && this.position(digest) < this.#at) this.#report(blob);
  }

  /** Reads the configs into memory, which come first, for whoever wants to see nothing else. Throws as {@link open} does. */
  async keepConfigs(): Promise<void> {
    const entries = this.#configs < 0 ? this.#blobs : this.#blobs.slice(0, this.#configs);
    try {
      for (const entry of entries) {
        const wrong = await readEntryHeader(this.#feed, entry, this.path);
        const bytes = await this.#feed.exactly(entry.size + paddingOf(entry.size));
        if (wrong === undefined) this.#kept.set(entry.digest, bytes.subarray(0, entry.size));
      }
    } catch (error) {
      if (!(error instanceof Ended)) throw diskError(`read ${this.path}`, error);
      throw endedEarly(this.path, { got: this.#feed.offset, expected: this.totalBytes });
    }
  }

  /** Lets the blobs come: those that are wanted wait until they are released. To be called once, before any is opened. */
  flow(wanted: Iterable<Digest>, onDropped: OnDropped = () => undefined): void {
    for (const digest of wanted) if (this.#positions.has(digest)) this.#wanted.add(digest);
    this.#passed = this.#pass(onDropped);
  }

  /** Resolves when all has gone by, with what was wrong that no reader was told of. */
  async finished(): Promise<readonly PipeProblem[]> {
    await this.#passed;
    return this.#problems;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#place.bell.ring();
    await this.#feed.close().catch(() => undefined);
    await this.#passed?.catch(() => undefined);
  }

  async #pass(onDropped: OnDropped): Promise<void> {
    try {
      for (const entry of this.#blobs) {
        this.#admitNear();
        const wanted = this.#blobOf(entry);
        await this.#passBlob(wanted ?? unwanted(entry, this.#place));
        if (wanted === undefined) onDropped(entry.digest, entry.size);
      }
      await this.#feed.exactly(endBytes);
      if ((await this.#feed.next(1)) !== undefined)
        this.#problems.push({
          error: damaged(this.path, `there is more behind its ${this.totalBytes} bytes`),
        });
    } catch (error) {
      this.#broke(error);
    }
  }

  /** A blob that is wanted, while it is. */
  #blobOf(entry: BlobEntry): PassingBlob | undefined {
    const { digest } = entry;
    const known = this.#live.get(digest);
    if (known !== undefined || !this.#wanted.has(digest)) return known;
    const blob = new PassingBlob(entry, this.#place);
    if (this.position(digest) >= this.#brokenAt) blob.fail(this.#failureFor(digest));
    this.#live.set(digest, blob);
    return blob;
  }

  async #passBlob(blob: PassingBlob): Promise<void> {
    const { entry } = blob;
    const wrong = await readEntryHeader(this.#feed, entry, this.path);
    if (wrong !== undefined) blob.fail(wrong);
    for (let left = entry.size; left > 0; ) {
      await this.#roomFor(blob);
      const bytes = await this.#feed.some(left);
      left -= bytes.byteLength;
      blob.append(bytes);
    }
    await this.#feed.exactly(paddingOf(entry.size));
    this.#at += 1;
    if (blob.isReleased) this.#report(blob);
  }

  async #roomFor(blob: PassingBlob): Promise<void> {
    const { pieces, bell } = this.#place;
    while (!blob.isReleased && pieces.used >= pieces.capacity && !blob.giveWay()) {
      if (this.#isClosed) throw new Ended();
      await bell.heard();
    }
  }

  /** What was wrong with a blob that was not wanted in the end. */
  #report(blob: PassingBlob): void {
    if (blob.unheard !== undefined) this.#problems.push({ digest: blob.entry.digest, error: blob.unheard });
  }

  /** Nothing more comes. */
  #broke(cause: unknown): void {
    this.#brokenAt = this.#at;
    this.#cause = cause;
    this.#problems.push({ error: this.#failureFor(undefined) });
    for (const { digest } of this.#blobs.slice(this.#at)) {
      const error = this.#failureFor(digest);
      if (this.#wanted.has(digest)) this.#live.get(digest)?.fail(error);
      else this.#problems.push({ digest, error });
    }
    this.#at = this.#blobs.length;
    this.#admitNear();
  }

  #failureFor(digest: Digest | undefined): AppError {
    if (!(this.#cause instanceof Ended)) return diskError(`read ${this.path}`, this.#cause);
    return endedEarly(this.path, { got: this.#feed.offset, expected: this.totalBytes, digest });
  }

  /** Lets those begin whose content fits into memory behind what goes by now; the very next one at any rate. */
  #admitNear(): void {
    const next = this.#blobs[this.#at]?.headerOffset ?? Number.POSITIVE_INFINITY;
    this.#gate.open(next + heldBytes);
  }
}

function unwanted(entry: BlobEntry, place: PassingPlace): PassingBlob {
  const blob = new PassingBlob(entry, place);
  blob.release();
  return blob;
}
