/** Where transfers wait until their content is about to come. */

/** They pass in the order in which they came, which is that of the stream. */
export class Gate {
  readonly #waiting: { readonly offset: number; readonly pass: () => void }[] = [];
  #open = 0;

  /** Resolves when the stream is near an offset (bytes). Rejects with the signal's reason. */
  async reached(offset: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (offset <= this.#open) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    this.#waiting.push({ offset, pass: resolve });
    await promise.finally(() => signal.removeEventListener("abort", stop));
  }

  /** Lets pass what is at an offset or before it. */
  open(offset: number): void {
    this.#open = offset;
    const beyond = this.#waiting.findIndex((waiting) => waiting.offset > offset);
    for (const { pass } of this.#waiting.splice(0, beyond < 0 ? this.#waiting.length : beyond)) pass();
  }
}
