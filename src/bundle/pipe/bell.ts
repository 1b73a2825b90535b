/** Something has changed: whoever waits looks again. */
export class Bell {
  #next = Promise.withResolvers<void>();

  /** Resolves when it is rung next. */
  async heard(): Promise<void> {
    await this.#next.promise;
  }

  ring(): void {
    const rung = this.#next;
    this.#next = Promise.withResolvers();
    rung.resolve();
  }
}
