/**
 * Moves content inside a file so that the end of the program at any moment (SIGKILL) loses nothing. There is no fsync:
 * after a crash of the program the system still has what was written. A power cut may lose pieces; the digests
 * find that, and the content is fetched again.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { reached } from "../content/points.ts";
import { digestOf } from "../oci/digest.ts";
import type { Claim, MoveLog, MoveStep } from "./claims.ts";
import { asDiskError, readExactly, readInto, writeAll } from "./disk.ts";
import type { PositionalFile } from "./positional-file.ts";

const defaultPieceBytes = 4 * 1024 * 1024;
/** So many pieces at most are moved between two notes: what a crash makes us do again. */
const maxPiecesBetweenNotes = 16;
/** No program saves larger pieces; a step that says so is not ours. Bytes. */
const maxSavedBytes = 64 * 1024 * 1024;

export interface MoveOptions {
  readonly log: MoveLog;
  /** Where pieces are saved that overlap with their own place: `NAME.part.move`. */
  readonly spillPath: string;
  /** What messages call the file. */
  readonly name: string;
  /** Stops between two pieces; what has been moved is noted. */
  readonly signal?: AbortSignal | undefined;
  /** So many more bytes are at their place. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** Bytes moved at a time; 4 MiB unless given. Two pieces are in memory. */
  readonly pieceBytes?: number | undefined;
}

type Move = Pick<MoveStep, "digest" | "from" | "to" | "length">;

/** Moves contents of one file, one after the other. Disposing of it closes the spill file and leaves it where it is. */
export class Mover implements AsyncDisposable {
  readonly #file: PositionalFile;
  readonly #options: MoveOptions;
  readonly #pieceBytes: number;
  /** One piece is being written while the next is read. */
  readonly #buffers: readonly [Buffer, Buffer];
  #spill: FileHandle | undefined;

  constructor(file: PositionalFile, options: MoveOptions) {
    this.#file = file;
    this.#options = options;
    this.#pieceBytes = options.pieceBytes ?? defaultPieceBytes;
    this.#buffers = [Buffer.allocUnsafeSlow(this.#pieceBytes), Buffer.allocUnsafeSlow(this.#pieceBytes)];
  }

  /** Moves content to another place and notes it there. Throws DISK, INTEGRITY (the file ends before), or the signal's reason. */
  async move(claim: Claim, to: number): Promise<Claim> {
    return await this.#goOn({ digest: claim.digest, from: claim.at, to, length: claim.got }, 0);
  }

  /** Does a noted step again, and the rest of its move. Throws as {@link move}. */
  async finish(step: MoveStep): Promise<Claim> {
    if (step.hash === "") return await this.#goOn(step, step.moved);
    const spill = await this.#openSpill();
    const saved = await readExactly(spill, 0, step.piece, this.#options.spillPath).catch(() => undefined);
    // Otherwise the next piece is there already, or part of it: this one had been written by then.
    if (saved !== undefined && digestOf(saved) === step.hash)
      await writeAll(this.#file, [saved], step.to + startOf(step), this.#options.name);
    return await this.#goOn(step, step.moved + step.piece);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spill?.close();
  }

  async #goOn({ digest, from, to, length }: Move, alreadyMoved: number): Promise<Claim> {
    const { log, name, onMoved } = this.#options;
    const distance = Math.abs(to - from);
    // A piece that is no longer than the way that it goes does not overwrite itself, nor what comes after it. So it
    // can be copied again from where it lies until the next one is written.
    const saves = distance < Math.min(this.#pieceBytes, length);
    const pieces = Math.min(Math.floor(distance / this.#pieceBytes), maxPiecesBetweenNotes);
    const noteEvery = Math.max(pieces, 1) * this.#pieceBytes;
    const steps = saves || length > noteEvery;
    let noted = alreadyMoved;
    for await (const part of this.#read({ digest, from, to, length }, alreadyMoved)) {
      if (steps && part.moved >= noted) {
        const piece = saves ? part.bytes.byteLength : Math.min(noteEvery, length - part.moved);
        const hash = saves ? await this.#save(part.bytes) : "";
        await log.step({ digest, from, to, length, moved: part.moved, piece, hash });
        reached("move:noted");
        noted = part.moved + piece;
      }
      await writeAll(this.#file, [part.bytes], to + part.start, name);
      if (steps) reached("move:piece-written");
      onMoved?.(part.bytes.byteLength);
    }
    const claim: Claim = { digest, at: to, got: length };
    await log.moved(claim);
    reached("move:done");
    return claim;
  }

  /**
   * The pieces of a content in the order in which they have to go, read ahead by one. No piece is written over one
   * that comes after it, so reading ahead sees nothing wrong.
   */
  async *#read(
    move: Move,
    alreadyMoved: number,
  ): AsyncGenerator<{ readonly moved: number; readonly start: number; readonly bytes: Buffer }, void> {
    const { name, signal } = this.#options;
    let [buffer, other] = this.#buffers;
    const next = (moved: number) => {
      if (moved >= move.length) return undefined;
      const piece = Math.min(this.#pieceBytes, move.length - moved);
      const start = startOf({ ...move, moved, piece });
      const reading = readInto(this.#file, buffer.subarray(0, piece), move.from + start, name);
      // A failure is met when its turn comes; until then it must not count as unhandled.
      reading.catch(() => undefined);
      [buffer, other] = [other, buffer];
      return { moved, start, piece, reading };
    };
    signal?.throwIfAborted();
    let part = next(alreadyMoved);
    try {
      while (part !== undefined) {
        const { moved, start, piece, reading } = part;
        const bytes = await reading;
        part = next(moved + piece);
        yield { moved, start, bytes };
        // All that is left to do after the last piece is to note it.
        if (part !== undefined) signal?.throwIfAborted();
      }
    } finally {
      // Nobody may close the file under a read that is still under way.
      await part?.reading.catch(() => undefined);
    }
  }

  /** Saves a piece in place of the last one, and gives its hash. */
  async #save(bytes: Buffer): Promise<string> {
    const spill = await this.#openSpill();
    const saving = writeAll(spill, [bytes], 0, this.#options.spillPath);
    saving.catch(() => undefined);
    const hash = digestOf(bytes);
    await saving;
    reached("move:piece-saved");
    return hash;
  }

  /** Opens the spill file, with what is in it. */
  async #openSpill(): Promise<FileHandle> {
    const { spillPath } = this.#options;
    this.#spill ??= await open(
      spillPath,
      constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
      0o644,
    ).catch(asDiskError(`write ${spillPath}`));
    return this.#spill;
  }
}

/**
 * After a crash: completes the move that the last step belongs to (if nothing about its digest was noted since), and
 * notes it so. That has to be done before anything else is written to the file, whether the content is still wanted
 * or not: done later, it would overwrite what has come there since. Of a step that does not fit the file it is noted
 * that nothing is left of the content. Throws DISK, or the signal's reason.
 */
export async function finishMove(file: PositionalFile, step: MoveStep, options: MoveOptions): Promise<void> {
  const { size } = await file.stat({ bigint: true });
  if (!isSound(step, Number(size)))
    return await options.log.moved({ digest: step.digest, at: step.to, got: 0 });
  await using mover = new Mover(file, options);
  await mover.finish(step);
}

/** The file is grown before anything moves: so both places lie inside of it. */
function isSound({ from, to, length, moved, piece, hash }: MoveStep, fileBytes: number): boolean {
  const fits = Math.max(from, to) <= fileBytes - length && moved <= length - piece;
  return fits && piece <= (hash === "" ? Math.abs(to - from) : maxSavedBytes);
}

/** Where in the content a piece begins. */
function startOf({ from, to, length, moved, piece }: Omit<MoveStep, "digest" | "hash">): number {
  return to < from ? moved : length - moved - piece;
}
