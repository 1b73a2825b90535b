/** Bytes per second over a sliding window. */

/** How far back the rate looks, in milliseconds: long enough to be calm, short enough to show a stall. */
const windowMs = 10_000;
/** Distance of samples in milliseconds: bounds them to some forty, however many chunks come in. */
const sampleMs = 250;
/** No rate is given before this much time has passed, in milliseconds. */
const settleMs = 1_000;

/** Counts bytes from its creation on. */
export class RateMeter {
  readonly #now: () => number;
  readonly #samples: { readonly at: number; readonly bytes: number }[];
  #bytes = 0;

  /** `now` is a clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
    this.#samples = [{ at: now(), bytes: 0 }];
  }

  /** Takes bytes that have just moved. */
  add(bytes: number): void {
    this.#sample();
    this.#bytes += bytes;
  }

  /** Bytes per second over the last ten seconds; undefined in the first second. */
  perSecond(): number | undefined {
    const at = this.#sample();
    const first = this.#samples[0];
    if (first === undefined || at - first.at < settleMs) return undefined;
    return ((this.#bytes - first.bytes) * 1000) / (at - first.at);
  }

  #sample(): number {
    const at = this.#now();
    const last = this.#samples.at(-1);
    if (last === undefined || at - last.at >= sampleMs) this.#samples.push({ at, bytes: this.#bytes });
    // The first sample stays the youngest one that is as old as the window.
    while ((this.#samples[1]?.at ?? at) <= at - windowMs) this.#samples.shift();
    return at;
  }
}
