/** One promise that many steps look at, one after the other. */

/**
 * Tells of each step whether the promise has settled before it was over. `Promise.race` does that too, and keeps
 * something of every step for as long as the promise is open: hundreds of megabytes for a large blob in small pieces.
 */
export class Watch {
  #settled = false;
  #wake: (() => void) | undefined;

  constructor(promise: Promise<unknown>) {
    const settle = (): void => {
      this.#settled = true;
      this.#wake?.();
    };
    promise.then(settle, settle);
  }

  /** True once the promise has settled, false if the step was over before. Rejects as the step does. */
  async during(step: Promise<unknown>): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#wake = () => resolve(true);
    if (this.#settled) resolve(true);
    step.then(() => resolve(false), reject);
    return await promise;
  }
}
