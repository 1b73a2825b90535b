/**
 * Writes a bundle in place: the whole tar is laid out first, then every blob is written at its own offset straight
 * from its stream, in parallel. The file grows as `NAME.part` beside its journal and gets its name when every
 * digest has proved right and the bytes are on the disk.
 */
import { type FileHandle, open, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { BlobSource, ByteStream, Pushed, PushOptions, Target } from "../content/content.ts";
import type { Clock } from "../content/retry.ts";
import { proveContent, resuming, verified } from "../content/verify.ts";
import { AppError, isAppError, systemCode } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { compact } from "./compact.ts";
import { diskError, writeAll } from "./disk.ts";
import { EarlySync } from "./early-sync.ts";
import { readFileRange } from "./file-range.ts";
import { Journal, readJournal } from "./journal.ts";
import type { BlobEntry, Layout } from "./layout.ts";
import { BundleLock } from "./lock.ts";
import { PositionalOutput } from "./positional-output.ts";

export interface WriterOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** A blob of an earlier run was hashed again and is whole. */
  readonly onReused?: ((size: number) => void) | undefined;
  /** A stream broke and goes on where it stopped. */
  readonly onRetry?: ((what: string, attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/** A bundle that is being written. */
export class BundleWriter implements Target {
  readonly #path: string;
  #layout: Layout;
  #committed = false;
  readonly #file: FileHandle;
  readonly #early: EarlySync;
  readonly #journal: Journal;
  readonly #lock: BundleLock;
  readonly #options: WriterOptions;
  readonly #done: Set<Digest>;

  private constructor(
    path: string,
    layout: Layout,
    {
      file,
      journal,
      lock,
      done,
    }: { file: FileHandle; journal: Journal; lock: BundleLock; done: Set<Digest> },
    options: WriterOptions,
  ) {
    this.#path = path;
    this.#layout = layout;
    this.#file = file;
    this.#early = new EarlySync(file);
    this.#journal = journal;
    this.#lock = lock;
    this.#done = done;
    this.#options = options;
  }

  /**
   * Opens `PATH.part`, takes up what an earlier run of the same plan left there, and makes sure that the rest will
   * fit. Throws DISK (with needed and free bytes where space is short) or NOT_FOUND.
   */
  static async open(path: string, layout: Layout, options: WriterOptions): Promise<BundleWriter> {
    await checkBundlePath(path);
    const lock = await BundleLock.take(path);
    try {
      return await BundleWriter.#open(path, layout, lock, options);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  static async #open(
    path: string,
    layout: Layout,
    lock: BundleLock,
    options: WriterOptions,
  ): Promise<BundleWriter> {
    const part = partPath(path);
    const claimed = await readJournal(journalPath(path), layout.id);
    const resumed = claimed.size > 0 && (await sizeOf(part)) === layout.totalBytes;
    let file: FileHandle | undefined;
    let journal: Journal | undefined;
    try {
      await checkSpace(path, layout.totalBytes);
      file = await open(part, resumed ? "r+" : "w+", 0o644);
      await file.truncate(layout.totalBytes);
      const done = resumed ? await prove(file, layout, claimed, options) : new Set<Digest>();
      journal = resumed
        ? await Journal.resume(journalPath(path))
        : await Journal.start(journalPath(path), layout.id);
      for (const entry of layout.metadata)
        await writeAll(file, [entry.header, entry.bytes], entry.headerOffset, part);
      return new BundleWriter(path, layout, { file, journal, lock, done }, options);
    } catch (error) {
      await file?.close();
      await journal?.close();
      // Nothing of value is lost: a fresh file held nothing yet.
      if (!resumed && file !== undefined) await removePart(path);
      throw diskError(`write ${part}`, error);
    }
  }

  async has(descriptor: Descriptor): Promise<boolean> {
    return this.#done.has(descriptor.digest);
  }

  /** Writes a blob or manifest at its place. Throws INTEGRITY if the content is wrong, DISK if it cannot be kept. */
  async push(blob: BlobSource, options: PushOptions = {}): Promise<Pushed> {
    const { digest } = blob.descriptor;
    const entry = this.#layout.blobs.get(digest);
    if (entry === undefined) throw new AppError("INTERNAL", `the layout has no place for ${digest}`);
    if (this.#done.has(digest)) return "present";
    options.onStart?.();
    const { clock, onRetry } = this.#options;
    const stream = resuming(blob, {
      clock,
      signal: options.signal,
      onRetry: (attempt, delayMs, cause) => onRetry?.(`read ${digest}`, attempt, delayMs, cause),
    });
    await this.#write(entry, verified(stream, blob.descriptor), options.onProgress);
    this.#done.add(digest);
    await this.#journal.done(digest, entry.size);
    return "stored";
  }

  /** The names are in the metadata, which is written already; all that is left is to store the manifest. */
  async tag(manifest: BlobSource): Promise<void> {
    await this.push(manifest);
  }

  /**
   * Takes the blobs of some images out again: what stays moves to its place in the new layout, which must keep the
   * order of this one. From here on there is no way back to an unfinished bundle that could be resumed.
   */
  async shrink(layout: Layout): Promise<void> {
    await this.#journal.remove();
    await compact(this.#file, this.#layout, layout, partPath(this.#path));
    this.#layout = layout;
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
      await this.#file.sync();
      await rename(partPath(this.#path), this.#path);
      this.#committed = true;
      await this.#file.close();
      await this.#journal.remove();
      await syncFolder(dirname(this.#path));
      await this.#lock.release();
      return this.#layout.totalBytes;
    } catch (error) {
      throw diskError(`write ${this.#path}`, error);
    }
  }

  /** Leaves the unfinished file and its journal for the next run, unless nothing has come yet. */
  async abandon(): Promise<void> {
    if (this.#committed) return;
    try {
      await this.#early.settled();
      await this.#file.close();
      // The disk may be full: what was not noted is fetched again.
      await this.#journal.close().catch(() => undefined);
      if (this.#done.size === 0) await removePart(this.#path);
    } finally {
      await this.#lock.release();
    }
  }

  async #write(entry: BlobEntry, content: ByteStream, onProgress: PushOptions["onProgress"]): Promise<void> {
    const output = new PositionalOutput(this.#file, entry.headerOffset, partPath(this.#path));
    let received = 0;
    try {
      await output.write(entry.header);
      for await (const chunk of content) {
        await output.write(chunk);
        this.#early.wrote(chunk.byteLength);
        received += chunk.byteLength;
        onProgress?.(received);
        // Asking for the end gives the last chunks back.
        if (received === entry.size) await output.flush();
      }
    } finally {
      await output.flush();
    }
  }
}

/** Where a bundle grows until it is whole. */
export function partPath(path: string): string {
  return `${path}.part`;
}

/** Where it is noted what of the part is whole. */
export function journalPath(path: string): string {
  return `${path}.part.journal`;
}

async function prove(
  file: FileHandle,
  layout: Layout,
  claimed: ReadonlySet<Digest>,
  options: WriterOptions,
): Promise<Set<Digest>> {
  const proved = new Set<Digest>();
  for (const digest of claimed) {
    const entry = layout.blobs.get(digest);
    if (entry === undefined) continue;
    options.signal?.throwIfAborted();
    const descriptor = { mediaType: "", digest, size: entry.size };
    try {
      await proveContent(
        readFileRange(file, entry.contentOffset, entry.size, "the unfinished bundle"),
        descriptor,
      );
    } catch (error) {
      if (isAppError(error, "INTEGRITY")) continue;
      throw error;
    }
    await writeAll(file, [entry.header], entry.headerOffset, "the unfinished bundle");
    proved.add(digest);
    options.onReused?.(entry.size);
  }
  return proved;
}

/** Makes sure that a bundle can get this name: its folder is there, and no folder has the name. Throws NOT_FOUND or DISK. */
export async function checkBundlePath(path: string): Promise<void> {
  const folder = dirname(path);
  const found = await stat(folder).catch((error: unknown) => {
    if (systemCode(error) !== "ENOENT") throw diskError(`write ${path}`, error);
    throw new AppError("NOT_FOUND", `Cannot write ${path}: there is no folder ${folder}`, {
      hint: `make it with mkdir -p ${folder}, or check the path`,
      cause: error,
    });
  });
  if (!found.isDirectory()) throw new AppError("DISK", `Cannot write ${path}: ${folder} is not a folder`);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw new AppError("DISK", `Cannot write ${path}: it is a folder`, {
      hint: `name a file in it: ${path}/bundle.tar`,
    });
  }
  if (existing !== undefined && !existing.isFile())
    throw new AppError("DISK", `Cannot write ${path}: it is not a regular file`);
}

async function checkSpace(path: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  // What the part occupies already is not needed again (blocks, not its length: it is laid out sparse).
  const part = await stat(partPath(path)).catch(() => undefined);
  const free = bavail * bsize + (part?.blocks ?? 0) * 512;
  if (free >= needed) return;
  throw new AppError(
    "DISK",
    `Cannot write ${basename(path)}: it needs ${mebibytes(needed)}, and ${dirname(path)} has ${mebibytes(free)} free`,
    {
      hint: "make room, or write to another disk",
      details: { neededBytes: needed, freeBytes: free },
    },
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

async function removePart(path: string): Promise<void> {
  await rm(partPath(path), { force: true });
  await rm(journalPath(path), { force: true });
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
