/** What has come of one large file of a stream and is not yet stored: as much as can be sent again, and some more. */
import { Bell } from "./bell.ts";
import { Held, type Pieces } from "./held.ts";

/** Files up to this size are held until they are stored, so that their upload can begin anew. Bytes. */
const heldWholeBytes = 32 * 1024 * 1024;

/** It is filled in order, and read by one reader at a time. */
export class Window {
  readonly #size: number;
  readonly #pieces: Pieces;
  readonly #held: Held;
  readonly #bell = new Bell();
  readonly #goneBy: () => Error;
  #failure: { readonly reason: unknown } | undefined;
  #isClosed = false;
  /** A reader has all that has come, and waits for more. */
  #starving = false;
  /** Where the piece begins that a reader got last: it may still be in use. */
  #lentAt = 0;

  /** `size`: of the file, in bytes. `goneBy` makes the error for what cannot be read again. */
  constructor(pieces: Pieces, size: number, goneBy: () => Error) {
    this.#pieces = pieces;
    this.#size = size;
    this.#held = new Held(pieces, size);
    this.#goneBy = goneBy;
  }

  /** Takes in a copy of the next bytes, when there is room for them; drops them once it is closed. */
  async append(bytes: Uint8Array): Promise<void> {
    while (!this.#isClosed && this.#pieces.used >= this.#pieces.capacity && !this.#giveWay())
      await this.#bell.heard();
    if (this.#isClosed) return;
    this.#held.append(bytes);
    this.#bell.ring();
  }

  /** Nothing more comes: readers fail with the reason. */
  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#bell.ring();
  }

  /** Nothing before the offset (bytes) is asked for again. */
  settle(offset: number): void {
    if (this.#size > heldWholeBytes && this.#held.dropBefore(offset)) this.#bell.ring();
  }

  /** Nobody reads it any more. */
  close(): void {
    this.#isClosed = true;
    this.#held.clear();
    this.#bell.ring();
  }

  /** The bytes from an offset on, as they come. */
  async *read(offset: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void> {
    const wake = (): void => this.#bell.ring();
    signal?.addEventListener("abort", wake, { once: true });
    try {
      for (let at = offset; at < this.#size; ) {
        signal?.throwIfAborted();
        if (this.#failure !== undefined) throw this.#failure.reason;
        if (at < this.#held.start || this.#isClosed) throw this.#goneBy();
        const piece = this.#held.from(at);
        if (piece === undefined) {
          this.#starving = true;
          this.#bell.ring();
          await this.#bell.heard();
        } else {
          this.#starving = false;
          this.#lentAt = at;
          at += piece.byteLength;
          yield piece;
        }
      }
    } finally {
      this.#starving = false;
      signal?.removeEventListener("abort", wake);
    }
  }

  /** Makes room where a reader has taken all there is, in one request: what is that large cannot be sent again. */
  #giveWay(): boolean {
    return this.#starving && this.#held.dropBefore(this.#lentAt);
  }
}
