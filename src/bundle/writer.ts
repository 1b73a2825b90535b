/**
 * Writes a bundle in place: the whole tar is laid out first, then every blob is written at its own offset straight
 * from its stream, in parallel. The file grows as `NAME.part` beside its journal and gets its name when every
 * digest has proved right and the bytes are on the disk.
 */
import { dirname } from "node:path";
import pLimit from "p-limit";
import type { BlobSource, ByteStream, Pushed, PushOptions, Target } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { OtherAnswer } from "../content/other-answer.ts";
import { reached } from "../content/points.ts";
import type { Clock } from "../content/retry.ts";
import { Proof, resuming } from "../content/verify.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import type { Claim, Mark } from "./claims.ts";
import { diskError } from "./disk.ts";
import { EarlySync } from "./early-sync.ts";
import type { BlobEntry, Layout } from "./layout.ts";
import { BundleLock } from "./lock.ts";
import { nameBundle } from "./name-bundle.ts";
import { changeLayout, cut, openPart, type Part, type PartOptions } from "./part.ts";
import { type FillPlace, fill, frame, proveClaim } from "./part-blob.ts";
import { partName, removePart } from "./part-file.ts";
import { writeManifests } from "./part-manifests.ts";
import { checkBundlePath, syncFolder } from "./part-place.ts";
import { isFailureOfOld, Reading, type Reusable } from "./reusable.ts";

export interface WriterOptions extends PartOptions {
  readonly clock: Clock;
  /** The bundle is written in volumes of so many bytes; in one file if left out. */
  readonly volumeBytes?: number | undefined;
  /** Nothing of an earlier run is taken up. */
  readonly fresh?: boolean | undefined;
  /** Where to look for content before it is fetched. */
  readonly reuse?: readonly Reusable[] | undefined;
  /** A stream broke and goes on where it stopped. */
  readonly onRetry?: ((what: string, attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/** A bundle that is being written. */
export class BundleWriter implements Target {
  readonly #path: string;
  #layout: Layout;
  #committed = false;
  readonly #early: EarlySync;
  readonly #part: Part;
  readonly #lock: BundleLock;
  readonly #options: WriterOptions;
  #done = new Set<Digest>();
  /** Hashing runs on one core, and a disk that turns reads from one place best. */
  readonly #proofs = pLimit(2);
  /** Manifests that were stored before anything was fetched. */
  #kept = 0;

  private constructor(
    path: string,
    layout: Layout,
    { part, lock }: { part: Part; lock: BundleLock },
    options: WriterOptions,
  ) {
    this.#path = path;
    this.#layout = layout;
    this.#part = part;
    this.#early = new EarlySync({
      datasync: async () => {
        await part.file.datasync();
        await part.journal.sync();
      },
      close: async () => await part.file.close(),
    });
    this.#lock = lock;
    this.#options = options;
  }

  /**
   * Opens `PATH.part`, takes up what an earlier run left there, for the same plan or another one, and makes sure that
   * the rest will fit. Throws DISK (with needed and free bytes where space is short), NOT_FOUND, CONFLICT while
   * another process writes it, or the signal's reason.
   */
  static async open(path: string, layout: Layout, options: WriterOptions): Promise<BundleWriter> {
    await checkBundlePath(path);
    const lock = await BundleLock.take(path);
    try {
      if (options.fresh === true) await removePart(path);
      const part = await openPart({ path, volumeBytes: options.volumeBytes }, layout, options);
      return new BundleWriter(path, layout, { part, lock }, options);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  async has(descriptor: Descriptor): Promise<boolean> {
    return this.#done.has(descriptor.digest);
  }

  /**
   * Brings a blob or manifest to its place: what is there of it is proved, then an earlier bundle is looked into, and
   * what is left is fetched. Throws INTEGRITY if the content is wrong, DISK if it cannot be kept.
   */
  async push(blob: BlobSource, options: PushOptions = {}): Promise<Pushed> {
    const { descriptor } = blob;
    const { digest } = descriptor;
    const entry = this.#placeOf(digest);
    if (this.#done.has(digest)) return "present";
    options.onStart?.();
    const proof = await this.#prove(entry, descriptor, options);
    const left = await this.#reuse(entry, descriptor, proof, options);
    if (left !== undefined) {
      options.onKept?.(left.offset);
      const { clock, onRetry } = this.#options;
      const stream = resuming(blob, {
        clock,
        from: left.offset,
        signal: options.signal,
        onRetry: (attempt, delayMs, cause) => onRetry?.(`read ${digest}`, attempt, delayMs, cause),
      });
      await this.#fill(entry, left, stream, options).catch((error: unknown) => {
        const isWrong = isAppError(error, "INTEGRITY") && !(error instanceof OtherAnswer);
        if (isWrong) this.#note(entry, undefined, 0);
        throw error;
      });
    }
    reached("blob:written");
    this.#part.journal.whole(digest, entry.contentOffset, entry.size);
    this.#done.add(digest);
    return left === undefined ? "kept" : "stored";
  }

  /** The names are in the metadata, which is written already; all that is left is to store the manifest. */
  async tag(manifest: BlobSource): Promise<void> {
    await this.push(manifest);
  }

  /**
   * Stores the manifests that are in memory anyway, before anything is fetched: once anything has come, the next run
   * need not ask for them. Throws DISK.
   */
  async keep(manifests: ManifestStore): Promise<void> {
    const { file, shape } = this.#part;
    for (const entry of await writeManifests(file, this.#layout, manifests, partName(shape))) {
      this.#done.add(entry.digest);
      this.#kept += 1;
      this.#part.journal.whole(entry.digest, entry.contentOffset, entry.size);
    }
  }

  /**
   * Takes the blobs of some images out again: what stays moves to its place in the new layout. All that stays has
   * to be done. Throws DISK, or the signal's reason; the next run goes on from there.
   */
  async shrink(layout: Layout, manifests: ManifestStore): Promise<void> {
    const claims = new Map<Digest, Claim>();
    for (const digest of this.#done) {
      const { contentOffset, size } = this.#placeOf(digest);
      claims.set(digest, { digest, at: contentOffset, got: size });
    }
    const place = { shape: this.#part.shape, signal: this.#options.signal };
    const found = await changeLayout(this.#part, claims, layout, place);
    this.#layout = layout;
    this.#done = new Set(found);
    await this.keep(manifests);
    if ([...layout.blobs.keys()].every((digest) => this.#done.has(digest))) return;
    const state = "the disk has no room to take out the images that failed";
    throw new AppError("DISK", `Cannot write ${this.#path}: ${state}`, {
      hint: "make room, then run the same command again",
    });
  }

  /** Gives the finished bundle its name, and its size in bytes. Throws INTERNAL if anything is missing, DISK if it cannot be kept. */
  async commit(): Promise<number> {
    for (const digest of this.#layout.blobs.keys()) {
      if (!this.#done.has(digest)) throw new AppError("INTERNAL", `${digest} was never written`);
    }
    try {
      // The rename must not get to the disk before the content does.
      await this.#early.settled();
      this.#early.check();
      // Syncing may take long: whoever is killed in it has noted all that is there. Without notes it is a bundle as well.
      await this.#part.journal.flush().catch(() => undefined);
      await cut(this.#part.file, this.#layout, partName(this.#part.shape));
      await this.#part.file.sync();
      reached("commit:synced");
      await nameBundle(this.#part, this.#layout, this.#options);
      this.#committed = true;
      reached("commit:renamed");
      await this.#part.file.close();
      await syncFolder(dirname(this.#path));
      // After that: a part without its journal would be nobody's.
      await this.#part.journal.remove();
      reached("commit:journal-removed");
      return this.#layout.totalBytes;
    } catch (error) {
      throw diskError(`write ${this.#path}`, error);
    } finally {
      if (this.#committed) await this.#lock.release();
    }
  }

  /** Leaves the unfinished file and its journal for the next run, unless nothing has come yet. */
  async abandon(): Promise<void> {
    if (this.#committed) return;
    try {
      // The disk may be full: what was not noted is fetched again.
      await this.#part.journal.close().catch(() => undefined);
      await this.#early.leave();
      const isEmpty = this.#done.size === this.#kept && this.#part.claims.size === 0;
      if (isEmpty && this.#part.isNew) await removePart(this.#path);
    } finally {
      await this.#lock.release();
    }
  }

  #placeOf(digest: Digest): BlobEntry {
    const entry = this.#layout.blobs.get(digest);
    if (entry === undefined) throw new AppError("INTERNAL", `the layout has no place for ${digest}`);
    return entry;
  }

  /** How much of a blob is at its place already. */
  async #prove(entry: BlobEntry, descriptor: Descriptor, options: PushOptions): Promise<Proof> {
    const claim = this.#part.claims.get(entry.digest);
    if (claim === undefined) return new Proof(descriptor);
    const marks = this.#part.marks.get(entry.digest) ?? [];
    return await this.#proofs(
      async () => await proveClaim(this.#part.file, claim, { descriptor, marks }, options),
    );
  }

  /**
   * Takes the rest of a blob from an earlier bundle, if one has it. Undefined if all of it is there now; otherwise how
   * far it is.
   */
  async #reuse(
    entry: BlobEntry,
    descriptor: Descriptor,
    proof: Proof,
    options: PushOptions,
  ): Promise<Proof | undefined> {
    if (proof.offset === entry.size && entry.size > 0) {
      await frame(this.#fillPlace(entry));
      return undefined;
    }
    let left = proof;
    for (const old of this.#options.reuse ?? []) {
      if (!old.has(entry.digest) || old.lacking(entry.digest).length > 0) continue;
      const proved = left.offset === 0 ? new Proof(descriptor) : left.copy();
      const reading = new Reading(old, descriptor, left.offset);
      try {
        await this.#fill(entry, left, reading, options);
        return undefined;
      } catch (error) {
        options.signal?.throwIfAborted();
        const isOldOnes = isAppError(error, "INTEGRITY") || reading.failedWith(error);
        if (!isOldOnes || !isFailureOfOld(error)) throw error;
        const state = error.code === "INTEGRITY" ? `${old.path} holds damaged content` : error.message;
        this.#options.onNote?.(`${state}: ${shortDigest(entry.digest)} is fetched`);
        left = proved;
        this.#note(entry, left.offset === 0 ? undefined : { got: left.offset, hash: left.hashSoFar() }, 0);
      }
    }
    return left;
  }

  async #fill(entry: BlobEntry, proof: Proof, content: ByteStream, options: PushOptions): Promise<void> {
    if (proof.offset > 0) await frame(this.#fillPlace(entry));
    reached("blob:begun");
    await fill(this.#fillPlace(entry), proof, content, {
      signal: options.signal,
      onProgress: options.onProgress,
      onWrite: (bytes) => this.#early.wrote(bytes),
      onMark: (mark, bytes) => this.#note(entry, mark, bytes),
    });
  }

  /** Notes how far a blob is in the file, `bytes` further than before; undefined: nothing of it is right. */
  #note({ digest, contentOffset: at }: BlobEntry, mark: Mark | undefined, bytes: number): void {
    const { journal, claims, marks } = this.#part;
    if (mark === undefined) {
      claims.delete(digest);
      marks.delete(digest);
      journal.wrong(digest);
      return;
    }
    claims.set(digest, { digest, at, got: mark.got });
    marks.set(digest, [mark]);
    journal.begun({ digest, at }, mark, bytes);
  }

  #fillPlace(entry: BlobEntry): FillPlace {
    return { file: this.#part.file, name: partName(this.#part.shape), entry, pads: !this.#part.isNew };
  }
}
