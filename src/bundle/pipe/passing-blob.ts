/** One blob while it goes by: what has come of it is held until it is read, and has arrived where it is sent. */
import { Proof } from "../../content/verify.ts";
import type { AppError } from "../../errors.ts";
import type { BlobEntry } from "../layout.ts";
import type { Bell } from "./bell.ts";
import { damagedContent } from "./front.ts";
import { Held, type Pieces } from "./held.ts";
import { damaged, goneBy } from "./pipe-errors.ts";

/** Blobs up to this size are held until they are released, so that they can begin anew. Bytes. */
const heldWholeBytes = 32 * 1024 * 1024;

/** What all blobs of a pipe share. */
export interface PassingPlace {
  readonly pieces: Pieces;
  readonly bell: Bell;
  /** What the pipe is called. */
  readonly name: string;
}

/** A blob that somebody wants. Once it is released, it is only hashed. */
export class PassingBlob {
  readonly entry: BlobEntry;
  readonly #place: PassingPlace;
  readonly #held: Held;
  /** Of a blob that nobody has opened. */
  #proof: Proof | undefined;
  #isOpened = false;
  #isReleased = false;
  /** A reader has all that has come, and waits for more. */
  #starving = false;
  /** Where the piece begins that a reader got last: it may still be in use. */
  #lentAt = 0;
  #failure: AppError | undefined;

  constructor(entry: BlobEntry, place: PassingPlace) {
    this.entry = entry;
    this.#place = place;
    this.#held = new Held(place.pieces, entry.size);
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** What is wrong with it that no reader has been told of; undefined if nothing is. */
  get unheard(): AppError | undefined {
    return this.#isOpened ? undefined : this.#failure;
  }

  /** The next bytes have come. */
  append(bytes: Uint8Array): void {
    if (this.#isReleased) this.#prove(bytes);
    else {
      this.#held.append(bytes);
      this.#place.bell.ring();
    }
  }

  /** It cannot be read any further. */
  fail(error: AppError): void {
    this.#failure ??= error;
    this.#place.bell.ring();
  }

  /** It was wrong as it was read: from now on the error names the pipe. */
  doubt(): void {
    const { digest } = this.entry;
    this.#failure ??= damaged(this.#place.name, `${digest} is damaged: its content has another digest`);
    this.#held.clear();
  }

  /** Nothing before the offset is asked for again. */
  settle(offset: number): void {
    if (this.entry.size > heldWholeBytes && this.#held.dropBefore(offset)) this.#place.bell.ring();
  }

  /** Nobody will open it again. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (let at = 0; !this.#isOpened && at < this.#held.end; ) {
      const piece = this.#held.from(at);
      if (piece === undefined) break;
      this.#prove(piece);
      at += piece.byteLength;
    }
    this.#held.clear();
    this.#place.bell.ring();
  }

  /**
   * Makes room where its reader waits for more, and what it has read already takes up all the room there is: a request
   * that large cannot be sent again. True if there is more room now.
   */
  giveWay(): boolean {
    const { capacity } = this.#place.pieces;
    const own = this.#held.end - this.#held.start;
    // What others hold goes away by itself, since they need nothing more of the pipe.
    return this.#starving && own > capacity / 2 && this.#held.dropBefore(this.#lentAt);
  }

  /** The bytes from an offset on, as they come. Throws what is wrong with them, and NOT_FOUND for what has gone by. */
  async *read(offset: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void> {
    const { bell, name } = this.#place;
    const { size, digest } = this.entry;
    this.#isOpened = true;
    const wake = (): void => bell.ring();
    signal?.addEventListener("abort", wake, { once: true });
    try {
      for (let at = offset; at < size; ) {
        signal?.throwIfAborted();
        if (this.#failure !== undefined) throw this.#failure;
        if (at < this.#held.start || this.#isReleased) throw goneBy(name, digest);
        const piece = this.#held.from(at);
        if (piece !== undefined) {
          this.#starving = false;
          this.#lentAt = at;
          at += piece.byteLength;
          yield piece;
        } else {
          // Once: readers that wait would wake each other for ever.
          const isNew = !this.#starving;
          this.#starving = true;
          if (isNew) bell.ring();
          await bell.heard();
        }
      }
      if (size === 0 && this.#failure !== undefined) throw this.#failure;
    } finally {
      this.#starving = false;
      signal?.removeEventListener("abort", wake);
    }
  }

  #prove(bytes: Uint8Array): void {
    if (this.#isOpened || this.#failure !== undefined) return;
    const { digest, size } = this.entry;
    try {
      this.#proof ??= new Proof({ mediaType: "", digest, size });
      this.#proof.update(bytes);
    } catch (error) {
      this.#failure = damagedContent(this.#place.name, digest, error);
    }
  }
}
