/**
 * Many readers of one stream that can only be read from its beginning on: a compressed archive. Whoever wants a part
 * waits until the running pass comes there; what lies behind it already is read by the next pass. So the parts of an
 * archive cost about one pass if they are asked for in its order, and nothing of it is ever unpacked onto the disk.
 */
import type { ByteStream } from "../../content/content.ts";
import type { StreamCursor } from "./cursor.ts";

/** A reader that has not asked for so long gives way to those who wait, and gets its place again later. */
const idleMs = 60_000;

interface Waiter {
  readonly at: number;
  readonly turn: PromiseWithResolvers<Turn>;
}

export class Passes implements AsyncDisposable {
  readonly #start: () => StreamCursor;
  readonly #idleMs: number;
  readonly #waiting = new Set<Waiter>();
  #cursor: StreamCursor | undefined;
  #turn: Turn | undefined;
  #moving = false;
  #closed = false;
  #passes = 0;
  #idle: NodeJS.Timeout | undefined;

  /** `start` begins another pass. `idle`: milliseconds. */
  constructor(start: () => StreamCursor, idle = idleMs) {
    this.#start = start;
    this.#idleMs = idle;
  }

  /** How often it has begun from the beginning. */
  get count(): number {
    return this.#passes;
  }

  /** The bytes from `from` to `to`. Resolves when the pass has come there. */
  async open(from: number, to: number, signal?: AbortSignal): Promise<ByteStream> {
    return this.#read(from, to, from < to ? await this.#wait(from, signal) : undefined, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#idle);
    await this.#cursor?.[Symbol.asyncDispose]();
  }

  async *#read(
    from: number,
    to: number,
    first: Turn | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    let turn = first;
    let at = from;
    try {
      while (at < to) {
        turn ??= await this.#wait(at, signal);
        const chunk = await turn.next(to - at);
        if (chunk === undefined) {
          turn = undefined;
          continue;
        }
        at += chunk.byteLength;
        // Whoever has the last bytes may be busy with them for long.
        if (at >= to) turn.end();
        yield chunk;
      }
    } finally {
      turn?.end();
    }
  }

  async #wait(at: number, signal: AbortSignal | undefined): Promise<Turn> {
    signal?.throwIfAborted();
    const waiter: Waiter = { at, turn: Promise.withResolvers<Turn>() };
    const stop = (): void => {
      this.#waiting.delete(waiter);
      waiter.turn.reject(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
    this.#waiting.add(waiter);
    this.#watch();
    void this.#move();
    try {
      return await waiter.turn.promise;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Takes the pass to the next one who waits, and gives it to them. Never fails: those who wait do. */
  async #move(): Promise<void> {
    if (this.#moving || this.#turn !== undefined) return;
    this.#moving = true;
    try {
      while (this.#turn === undefined && this.#waiting.size > 0 && !this.#closed) await this.#step();
    } finally {
      this.#moving = false;
    }
  }

  async #step(): Promise<void> {
    let cursor = this.#cursor;
    let next = this.#nextFrom(cursor?.position ?? 0);
    if (cursor === undefined || next === undefined) {
      this.#cursor = undefined;
      await cursor?.[Symbol.asyncDispose]();
      cursor = this.#start();
      this.#cursor = cursor;
      this.#passes += 1;
      next = this.#nextFrom(0);
      if (next === undefined) return;
    }
    try {
      // Piece by piece: somebody may ask for what lies between.
      if (cursor.position < next.at && (await cursor.take(next.at - cursor.position)) === undefined)
        throw cursor.truncated();
    } catch (error) {
      this.#cursor = undefined;
      for (const waiter of [...this.#waiting].filter(({ at }) => at >= cursor.position)) {
        this.#waiting.delete(waiter);
        waiter.turn.reject(error);
      }
      return;
    }
    if (cursor.position !== next.at || !this.#waiting.delete(next)) return;
    this.#turn = new Turn(cursor, () => {
      this.#turn = undefined;
      void this.#move();
    });
    next.turn.resolve(this.#turn);
  }

  #nextFrom(position: number): Waiter | undefined {
    let next: Waiter | undefined;
    for (const waiter of this.#waiting)
      if (waiter.at >= position && (next === undefined || waiter.at < next.at)) next = waiter;
    return next;
  }

  /** Sees to it that nobody waits for one who has gone away. */
  #watch(): void {
    if (this.#idle !== undefined) return;
    let seen: Turn | undefined;
    let taken = 0;
    this.#idle = setInterval(() => {
      const turn = this.#turn;
      if (turn !== undefined && turn === seen && turn.taken === taken && !turn.busy && this.#waiting.size > 0)
        turn.end();
      seen = turn;
      taken = turn?.taken ?? 0;
    }, this.#idleMs);
    this.#idle.unref();
  }
}

/** The right to read on from where the pass stands. */
class Turn {
  /** Pieces that have been taken. */
  taken = 0;
  /** True while a piece is being read. */
  busy = false;
  readonly #cursor: StreamCursor;
  readonly #onEnd: () => void;
  #over = false;

  constructor(cursor: StreamCursor, onEnd: () => void) {
    this.#cursor = cursor;
    this.#onEnd = onEnd;
  }

  /** The next bytes, at most so many; undefined if the turn is over. */
  async next(limit: number): Promise<Uint8Array | undefined> {
    if (this.#over) return undefined;
    this.busy = true;
    try {
      const piece = await this.#cursor.take(limit);
      if (piece === undefined) throw this.#cursor.truncated();
      this.taken += 1;
      return piece;
    } finally {
      this.busy = false;
    }
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onEnd();
  }
}
