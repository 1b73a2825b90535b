/**
 * The lines of a journal and what they come to. A line is a JSON object, a space and the CRC-32 of the JSON: torn,
 * flipped and foreign lines are no lines. Lines name places in the file themselves, so they hold for any layout.
 */
import { createReadStream } from "node:fs";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { systemCode } from "../errors.ts";
import { Digest } from "../oci/digest.ts";
import type { Claim, Mark, MoveStep } from "./claims.ts";
import { diskError } from "./disk.ts";

const Count = z.number().int().nonnegative();
const Hash = z.string().regex(/^[0-9a-f]{64,128}$/);
const Place = z.strictObject({ of: Digest, at: Count, got: Count });
const Line = z.union([
  /** Each run begins with it: the version of what follows. */
  z.strictObject({ journal: Count }),
  /** All `got` bytes of a blob are there. */
  z.strictObject({ whole: Place }),
  /** The first `got` bytes of a blob are there, and this is their hash. */
  z.strictObject({ begun: Place, hash: Hash }),
  /** What a claim is about lies at another place now. */
  z.strictObject({ moved: Place }),
  /** What had come of a blob was wrong. */
  z.strictObject({ wrong: Digest }),
  z.strictObject({
    step: z.strictObject({
      digest: Digest,
      from: Count,
      to: Count,
      length: Count,
      moved: Count,
      piece: Count,
      hash: z.string().max(160),
    }),
  }),
]);
export type JournalLine = z.infer<typeof Line>;

export const journalVersion = 2;

/** Marks that are kept of one blob; beyond that every other one goes, which costs no more than some bytes once. */
const maxMarks = 4096;
/** Of one that is whole, since its last pages may be lost in a power cut all the same. */
const maxMarksOfWhole = 64;
/** No line of ours is longer. Characters. */
const maxLineLength = 2048;

/** What a journal says. */
export interface Journalled {
  /** `absent`: there is no journal. `foreign`: it is none of this version, or nothing of it can be read. */
  readonly state: "absent" | "foreign" | "usable";
  /** The claims that stand, later ones last. */
  readonly claims: ReadonlyMap<Digest, Claim>;
  /** Of blobs that are not whole, in ascending order. */
  readonly marks: ReadonlyMap<Digest, readonly Mark[]>;
  /** A move that was begun and not finished. */
  readonly step?: MoveStep | undefined;
}

/** The text of a line, with its line break. */
export function formatLine(line: JournalLine): string {
  const json = JSON.stringify(line);
  return `${json} ${checksum(json)}\n`;
}

/** Reads the journal at a path. Throws DISK if there is one that cannot be read. */
export async function readJournal(path: string): Promise<Journalled> {
  const reading = new Reading();
  const stream = createReadStream(path, { encoding: "latin1" });
  try {
    for await (const text of linesOf(stream)) reading.take(parseLine(text));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return { state: "absent", claims: new Map(), marks: new Map() };
    throw diskError(`read ${path}`, error);
  } finally {
    stream.destroy();
  }
  return reading.result();
}

/** Adds up the lines in their order. */
class Reading {
  readonly #claims = new Map<Digest, Claim>();
  readonly #marks = new Map<Digest, Mark[]>();
  #step: MoveStep | undefined;
  #state: "foreign" | "usable" = "foreign";
  #isOther = false;

  take(line: JournalLine | undefined): void {
    if (line === undefined) return;
    this.#state = "usable";
    if ("journal" in line) {
      if (line.journal !== journalVersion) this.#isOther = true;
    } else if ("whole" in line) {
      this.#claim(line.whole);
      const marks = this.#marks.get(line.whole.of);
      if (marks !== undefined) this.#marks.set(line.whole.of, thinned(marks, maxMarksOfWhole));
    } else if ("begun" in line) {
      this.#claim(line.begun);
      this.#mark(line.begun.of, { got: line.begun.got, hash: line.hash });
    } else if ("moved" in line) {
      this.#claim(line.moved);
    } else if ("wrong" in line) {
      this.#claims.delete(line.wrong);
      this.#marks.delete(line.wrong);
    } else if ("step" in line) {
      this.#step = line.step;
    }
  }

  result(): Journalled {
    if (this.#isOther) return { state: "foreign", claims: new Map(), marks: new Map() };
    return { state: this.#state, claims: this.#claims, marks: this.#marks, step: this.#step };
  }

  /** The later one stands, and it comes last. */
  #claim({ of, at, got }: z.infer<typeof Place>): void {
    if (this.#step?.digest === of) this.#step = undefined;
    this.#claims.delete(of);
    this.#claims.set(of, { digest: of, at, got });
  }

  #mark(digest: Digest, mark: Mark): void {
    const marks = this.#marks.get(digest) ?? [];
    // It was begun anew: what was noted of more bytes was noted of others.
    while ((marks.at(-1)?.got ?? -1) >= mark.got) marks.pop();
    marks.push(mark);
    this.#marks.set(digest, thinned(marks, maxMarks));
  }
}

/** At most so many marks, the last one among them. */
function thinned(marks: Mark[], most: number): Mark[] {
  let kept = marks;
  while (kept.length > most) kept = kept.filter((_, index) => (kept.length - 1 - index) % 2 === 0);
  return kept;
}

/** The lines of a text. What is longer than a line of ours is cut, so that it is none. */
async function* linesOf(stream: AsyncIterable<unknown>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream) {
    const lines = (rest + String(text)).split("\n");
    rest = (lines.pop() ?? "").slice(0, maxLineLength);
    yield* lines;
  }
  yield rest;
}

function parseLine(text: string): JournalLine | undefined {
  const at = text.lastIndexOf(" ");
  const json = text.slice(0, Math.max(at, 0));
  if (at < 0 || text.slice(at + 1) !== checksum(json)) return undefined;
  try {
    return Line.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

function checksum(json: string): string {
  return crc32(json).toString(16).padStart(8, "0");
}
