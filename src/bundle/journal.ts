/**
 * The journal beside a `.part` file: what of the bundle is on the disk, in lines that are appended
 * ({@link readJournal} has their form). It is a hint and never believed: what it claims is hashed again from the disk
 * before it counts. So it needs no fsync of its own to be right. It gets one after each of the part's
 * ({@link EarlySync}): a power cut costs what came since then, or in the half minute before if that is less.
 */
import { constants, type FileHandle, open, rm } from "node:fs/promises";
import { reached } from "../content/points.ts";
import type { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Claim, Mark, MoveLog, MoveStep } from "./claims.ts";
import { diskError } from "./disk.ts";
import { formatLine, type JournalLine, journalVersion } from "./journal-lines.ts";

/**
 * So much may be on the disk without being noted: bytes, and milliseconds. Notes go together, at most every few
 * milliseconds, since each write costs as much as writing half a megabyte.
 */
const noteAtBytes = 1024 * 1024;
const noteAfterMs = 100;
const noteEveryMs = 5;

/** The journal of one `.part` file, open for appending. */
export class Journal implements MoveLog {
  readonly #file: FileHandle;
  readonly #path: string;
  #closed = false;
  #lines: string[] = [];
  #unnoted = 0;
  #timer: NodeJS.Timeout | undefined;
  #hurried = false;
  /** On the process's monotonic clock, in milliseconds. */
  #flushedAt = 0;
  #writing: Promise<void> = Promise.resolve();
  #failure: AppError | undefined;

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** Starts a new journal, in place of any that is there. Throws DISK. */
  static async start(path: string): Promise<Journal> {
    return await Journal.#open(path, "w");
  }

  /** Goes on with one that has been read. Throws DISK. */
  static async resume(path: string): Promise<Journal> {
    return await Journal.#open(path, "a");
  }

  static async #open(path: string, flags: "w" | "a"): Promise<Journal> {
    try {
      const anew = flags === "w" ? constants.O_TRUNC : constants.O_APPEND;
      // A link may lead to anything.
      const common = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;
      const file = await open(path, common | anew, 0o644);
      // A torn last line must not swallow the next one.
      await file.appendFile(`${flags === "a" ? "\n" : ""}${formatLine({ journal: journalVersion })}`);
      return new Journal(file, path);
    } catch (error) {
      throw diskError(`write ${path}`, error);
    }
  }

  /**
   * Notes that all `size` bytes of a blob are at a place in the file. It is written a moment later, together with
   * others. Throws DISK for an earlier note.
   */
  whole(digest: Digest, at: number, size: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#note({ whole: { of: digest, at, got: size } }, size);
  }

  /** Notes how far a blob has come, `bytes` further than it was noted before. Throws DISK for an earlier note. */
  begun({ digest, at }: Omit<Claim, "got">, { got, hash }: Mark, bytes: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#note({ begun: { of: digest, at, got }, hash }, bytes);
  }

  /** Notes that what has come of a blob is wrong. */
  wrong(digest: Digest): void {
    this.#note({ wrong: digest }, noteAtBytes);
  }

  async moved({ digest, at, got }: Claim): Promise<void> {
    this.#lines.push(formatLine({ moved: { of: digest, at, got } }));
    await this.#flush();
  }

  async step(step: MoveStep): Promise<void> {
    this.#lines.push(formatLine({ step }));
    await this.#flush();
  }

  /** Resolves when all that was noted is written. Throws DISK. */
  async flush(): Promise<void> {
    await this.#flush();
  }

  /** Resolves when all that was noted is written, and on the disk. Throws DISK. */
  async sync(): Promise<void> {
    await this.#flush();
    if (!this.#closed) await this.#file.datasync();
  }

  /** Closes the file and leaves it for the next run. Throws DISK if something could not be noted. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#flush().finally(async () => {
      this.#closed = true;
      await this.#file.close();
    });
  }

  /** Closes and removes the file: its purpose is fulfilled. */
  async remove(): Promise<void> {
    // What was not noted yet, or could not be, is of no interest any more.
    this.#lines = [];
    await this.close().catch(() => undefined);
    await rm(this.#path, { force: true });
  }

  #note(line: JournalLine, bytes: number): void {
    this.#lines.push(formatLine(line));
    this.#unnoted += bytes;
    const hurry = this.#unnoted >= noteAtBytes;
    if (this.#timer !== undefined && (!hurry || this.#hurried)) return;
    clearTimeout(this.#timer);
    this.#hurried = hurry;
    const sinceMs = performance.now() - this.#flushedAt;
    const afterMs = hurry ? Math.max(0, noteEveryMs - sinceMs) : noteAfterMs;
    // A failure is kept, and met by whoever notes next or closes.
    this.#timer = setTimeout(() => void this.#flush().catch(() => undefined), afterMs);
    this.#timer.unref();
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unnoted = 0;
    this.#flushedAt = performance.now();
    // One after the other: two appends at a time could mix their lines. After a failure, all that follow fail.
    this.#writing = this.#writing.then(async () => {
      const lines = this.#lines.join("");
      this.#lines = [];
      if (lines === "" || this.#closed) return;
      reached("journal:before-append");
      await this.#file.appendFile(lines).catch((error: unknown) => {
        this.#failure = diskError(`write ${this.#path}`, error);
        throw this.#failure;
      });
      reached("journal:appended");
    });
    return this.#writing;
  }
}
