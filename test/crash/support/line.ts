/** What goes over a relay's connections together: its pace, its total, and what happens at which byte. */

/** When something is to happen: after so many bytes of bodies in all, or so many tags written in all. */
export type Moment = { readonly bytes: number } | { readonly tags: number };

/** Bodies go over in pieces of so many bytes: how exactly a moment is met. */
const pieceBytes = 16 * 1024;

/** One line, which all connections of a relay share. */
export class Line {
  /** Called when the line breaks. */
  onBreak: () => void = () => undefined;
  /** The line breaks each time so many bytes have gone over it. */
  breakEvery = Number.POSITIVE_INFINITY;
  /** How often it broke. */
  broken = 0;
  #total = 0;
  #tags = 0;
  #unbroken = 0;
  readonly #rate: number | undefined;
  /** When the line is free again, in milliseconds. */
  #free = 0;
  #frozen: PromiseWithResolvers<void> | undefined;
  #moment: { readonly moment: Moment; readonly act: () => void } | undefined;

  /** `rate`: bytes a second; as fast as it goes if left out. */
  constructor(rate: number | undefined) {
    this.#rate = rate;
  }

  /** Bytes of bodies that have gone over it, both ways. */
  get total(): number {
    return this.#total;
  }

  /** Tags that were written over it. */
  get tags(): number {
    return this.#tags;
  }

  /** Calls `act` once when the moment has come. Not a byte more goes over the line from there on until {@link thaw}. */
  at(moment: Moment, act: () => void): void {
    this.#moment = { moment, act };
  }

  /** A tag was written. */
  countTag(): void {
    this.#tags += 1;
    this.#look();
  }

  /** Forgets what was to happen at a moment that has not come. */
  clear(): void {
    this.#moment = undefined;
  }

  /** Lets bytes over again. */
  thaw(): void {
    this.#frozen?.resolve();
    this.#frozen = undefined;
  }

  /** Resolves when something may go over the line: at once, unless it stands still. */
  async passes(): Promise<void> {
    while (this.#frozen !== undefined) await this.#frozen.promise;
  }

  /** A body on its way, in pieces, each counted before it goes. */
  async *carry(body: AsyncIterable<Buffer>, count: (bytes: number) => void): AsyncGenerator<Buffer, void> {
    for await (const chunk of body) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const piece = chunk.subarray(at, at + pieceBytes);
        await this.#turn(piece.length);
        count(piece.length);
        this.#total += piece.length;
        this.#unbroken += piece.length;
        yield piece;
        this.#look();
      }
    }
  }

  async #turn(bytes: number): Promise<void> {
    await this.passes();
    if (this.#rate === undefined) return;
    const now = performance.now();
    this.#free = Math.max(this.#free, now) + (bytes / this.#rate) * 1000;
    const wait = this.#free - now;
    // Timers do not go finer than a millisecond.
    if (wait < 1) return;
    await new Promise((settle) => setTimeout(settle, wait));
    await this.passes();
  }

  #look(): void {
    if (this.#unbroken >= this.breakEvery) {
      this.#unbroken -= this.breakEvery;
      this.broken += 1;
      this.onBreak();
    }
    if (this.#moment === undefined) return;
    const { moment, act } = this.#moment;
    if ("bytes" in moment ? this.#total < moment.bytes : this.#tags < moment.tags) return;
    this.#moment = undefined;
    this.#frozen = Promise.withResolvers<void>();
    act();
  }
}
