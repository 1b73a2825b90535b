/** Keeps what was slow to find for a while. */
import type { Clock } from "../content/retry.ts";

/**
 * How long what was found is good, in milliseconds. Helpers of clouds give passwords of an hour, and files of
 * credentials are renewed by others while a long run goes on.
 */
const lifetimeMs = 10 * 60_000;

/** Values by key. Whoever asks while a value is being found waits for that one; failures are kept as well. */
export class Remembered<T> {
  readonly #clock: Clock;
  readonly #values = new Map<string, { readonly value: Promise<T>; readonly untilMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The value of a key, found by `find` if it is not known or too old. One that cannot be renewed stays. */
  async get(key: string, find: () => Promise<T>): Promise<T> {
    const known = this.#values.get(key);
    if (known !== undefined && this.#clock.now() < known.untilMs) return await known.value;
    const found = find();
    const value = known === undefined ? found : found.catch(async () => await known.value);
    this.#values.set(key, { value, untilMs: this.#clock.now() + lifetimeMs });
    return await value;
  }
}
