/**
 * The journal beside a `.part` file: which blobs are whole. One JSON object a line, appended; a torn last line is
 * no line. It is a hint and never believed: what it claims is hashed again from the disk before it counts, so it
 * needs no fsync of its own.
 */
import { type FileHandle, open, readFile, rm } from "node:fs/promises";
import { z } from "zod";
import { systemCode } from "../errors.ts";
import { Digest } from "../oci/digest.ts";
import { diskError } from "./disk.ts";

const Head = z.object({ version: z.literal(1), layout: z.string() });
const Line = z.object({ done: Digest });
/** So much may be whole without being noted: bytes, and milliseconds. */
const noteAtBytes = 1024 * 1024;
const noteAfterMs = 100;

/** The journal of one `.part` file, open for appending. */
export class Journal {
  readonly #file: FileHandle;
  readonly #path: string;
  #closed = false;
  #lines = "";
  #unnoted = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** Starts a new journal for a layout, in place of any that is there. */
  static async start(path: string, layoutId: string): Promise<Journal> {
    try {
      const file = await open(path, "w", 0o644);
      await file.appendFile(`${JSON.stringify({ version: 1, layout: layoutId })}\n`);
      return new Journal(file, path);
    } catch (error) {
      throw diskError(`write ${path}`, error);
    }
  }

  /** Goes on with a journal that {@link readJournal} has read. */
  static async resume(path: string): Promise<Journal> {
    try {
      const file = await open(path, "a", 0o644);
      // A torn last line must not swallow the next one.
      await file.appendFile("\n");
      return new Journal(file, path);
    } catch (error) {
      throw diskError(`write ${path}`, error);
    }
  }

  /**
   * Notes that a blob of `size` bytes is whole. Small blobs are noted together a little later, since each write
   * costs as much as one of them; a crash in between costs no more than fetching those few again. Throws DISK, for
   * this note or an earlier one.
   */
  async done(digest: Digest, size: number): Promise<void> {
    this.#lines += `${JSON.stringify({ done: digest })}\n`;
    this.#unnoted += size;
    if (this.#unnoted >= noteAtBytes) return await this.#flush();
    this.#timer ??= setTimeout(() => {
      // A failure is kept, and met by the next call.
      this.#flush().catch(() => undefined);
    }, noteAfterMs);
    this.#timer.unref();
  }

  /** Closes the file and leaves it for the next run. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#flush().finally(async () => await this.#file.close());
  }

  /** Closes and removes the file: its purpose is fulfilled. */
  async remove(): Promise<void> {
    // What was not noted yet, or could not be, is of no interest any more.
    this.#lines = "";
    await this.close().catch(() => undefined);
    await rm(this.#path, { force: true });
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = "";
    this.#unnoted = 0;
    // One after the other: two appends at a time could mix their lines. After a failure, all that follow fail.
    this.#writing = this.#writing.then(async () => {
      if (lines === "") return;
      await this.#file.appendFile(lines).catch((error: unknown) => {
        throw diskError(`write ${this.#path}`, error);
      });
    });
    return this.#writing;
  }
}

/** The blobs that a journal of this layout claims to be whole; none if it is missing, foreign or unreadable. */
export async function readJournal(path: string, layoutId: string): Promise<ReadonlySet<Digest>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return new Set();
    throw diskError(`read ${path}`, error);
  }
  const [head, ...lines] = text.split("\n").map(parseLine);
  if (Head.safeParse(head).data?.layout !== layoutId) return new Set();
  return new Set(lines.flatMap((line) => Line.safeParse(line).data?.done ?? []));
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
