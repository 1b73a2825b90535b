/**
 * How fast one registry may be asked. A 429 pauses everybody who talks to it, and halves how many do so at a time;
 * what then goes well raises that again, one by one (additive increase, multiplicative decrease, as TCP does it).
 */
import pLimit, { type LimitFunction } from "p-limit";
import type { Clock } from "../content/retry.ts";

/** No pause is longer unless it is wanted, in milliseconds. */
const maxPauseMs = 120_000;
/** Nor is one that is wanted. */
const maxLongPauseMs = 24 * 60 * 60_000;

/** A request that is under way. */
export interface Turn {
  /** It was answered in earnest. */
  done(): void;
  /** It was told that we ask too much. */
  limited(): void;
  /** It failed otherwise. */
  failed(): void;
}

/** `sends` content, and holds its turn until all of it has come, from this very registry perhaps; or `reads` it. */
export type TurnUse = "sends" | "reads" | undefined;

/** The pace of one registry. */
export class Pace {
  /** Bounds the transfers (bodies of blobs); the requests are bounded by {@link enter}. */
  readonly transfers: LimitFunction;
  readonly #concurrency: number;
  readonly #clock: Clock;
  /** Requests at a time; no bound until the first 429. */
  #allowed = Number.POSITIVE_INFINITY;
  #underWay = 0;
  /** Those of them that send content. */
  #sending = 0;
  #pausedUntilMs = 0;
  /** Answers since the bound was last changed. */
  #answers = 0;
  /** Number of the last halving: requests sent before it tell nothing new. */
  #epoch = 0;
  readonly #waiting: (() => void)[] = [];
  /** Those who wait for a registry that answers nobody. */
  readonly #resting = new Set<AbortController>();
  /** Requests that were answered in earnest so far: progress renews budgets. */
  answered = 0;

  /** `concurrency`: transfers at a time. */
  constructor(concurrency: number, clock: Clock) {
    this.#concurrency = concurrency;
    this.#clock = clock;
    this.transfers = pLimit(concurrency);
  }

  /** Requests that may be under way at a time; Infinity while nothing speaks against it. */
  get allowed(): number {
    return this.#allowed;
  }

  /** Waits until it is this request's turn. Rejects with the signal's reason. */
  async enter(signal?: AbortSignal, use?: TurnUse): Promise<Turn> {
    for (;;) {
      const { leftMs } = this;
      // What is sent may have to be read from here: each would wait for the other otherwise.
      const others = this.#underWay - (use === "reads" ? this.#sending : 0);
      if (leftMs > 0) await this.#clock.sleep(leftMs, signal);
      else if (others < this.#allowed) break;
      else await this.#wait(signal);
    }
    this.#underWay += 1;
    if (use === "sends") this.#sending += 1;
    return this.#turn(use);
  }

  /** Waits between two tries; where nobody is answered (`away`), only until somebody is. Rejects with the signal's reason. */
  async rest(ms: number, signal: AbortSignal, away: boolean): Promise<void> {
    if (!away) return await this.#clock.sleep(ms, signal);
    const back = new AbortController();
    this.#resting.add(back);
    try {
      await this.#clock.sleep(ms, AbortSignal.any([signal, back.signal]));
    } catch (error) {
      if (signal.aborted || !back.signal.aborted) throw error;
    } finally {
      this.#resting.delete(back);
    }
  }

  /** Everybody stays away for so many milliseconds; two minutes at most, unless a `long` pause (a day) is wanted. */
  pause(ms: number, long = false): void {
    const until = this.#clock.now() + Math.min(ms, long ? maxLongPauseMs : maxPauseMs);
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, until);
  }

  /** Milliseconds that are left of a pause. */
  get leftMs(): number {
    return Math.max(this.#pausedUntilMs - this.#clock.now(), 0);
  }

  #turn(use: TurnUse): Turn {
    const epoch = this.#epoch;
    let over = false;
    const end = (then: () => void) => (): void => {
      if (over) return;
      over = true;
      this.#underWay -= 1;
      if (use === "sends") this.#sending -= 1;
      then();
      // Others may fit in now, or still not: each looks for itself.
      for (const wake of this.#waiting.splice(0)) wake();
    };
    return {
      done: end(() => this.#raise()),
      limited: end(() => {
        if (epoch === this.#epoch) this.#halve();
      }),
      failed: end(() => undefined),
    };
  }

  #raise(): void {
    this.answered += 1;
    for (const resting of this.#resting) resting.abort();
    this.#answers += 1;
    if (this.#allowed === Number.POSITIVE_INFINITY || this.#answers < this.#allowed) return;
    // As many good answers as may be asked for at a time: one more from now on.
    this.#answers = 0;
    this.#allowed += 1;
    if (this.#allowed > 4 * this.#concurrency) this.#allowed = Number.POSITIVE_INFINITY;
    this.#adjust();
  }

  #halve(): void {
    const before = Math.min(this.#allowed, this.#underWay + 1);
    this.#allowed = Math.max(1, Math.floor(before / 2));
    this.#answers = 0;
    this.#epoch += 1;
    this.#adjust();
  }

  #adjust(): void {
    this.transfers.concurrency = Math.max(1, Math.min(this.#concurrency, this.#allowed));
  }

  async #wait(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.push(resolve);
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** A signal for what waits: it aborts with either of the two. */
export function untilEither(one: AbortSignal | undefined, other: AbortSignal): AbortSignal {
  return one === undefined || one === other ? other : AbortSignal.any([one, other]);
}
