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

/** The journal of one `.part` file, open for appending. */
export class Journal {
  readonly #file: FileHandle;
  readonly #path: string;
  #closed = false;

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

  /** Notes that a blob is whole. */
  async done(digest: Digest): Promise<void> {
    try {
      await this.#file.appendFile(`${JSON.stringify({ done: digest })}\n`);
    } catch (error) {
      throw diskError(`write ${this.#path}`, error);
    }
  }

  /** Closes the file and leaves it for the next run. */
  async close(): Promise<void> {
    if (!this.#closed) await this.#file.close();
    this.#closed = true;
  }

  /** Closes and removes the file: its purpose is fulfilled. */
  async remove(): Promise<void> {
    await this.close();
    await rm(this.#path, { force: true });
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
