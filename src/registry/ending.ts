/** How a client ends: what it still owes the registry is sent, and nothing waits or is tried again after that. */
import type { Clock } from "../content/retry.ts";
import { AppError } from "../errors.ts";

/** Whoever has pressed Ctrl-C waits for this. Milliseconds. */
const maxFarewellMs = 1000;

/** The end of one client. */
export class Ending {
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  readonly #farewells = new Set<Promise<void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True once the client is closed. */
  get over(): boolean {
    return this.#controller.signal.aborted;
  }

  /** A signal for what waits: it aborts with this one, and with the end. */
  signal(other?: AbortSignal): AbortSignal {
    const own = this.#controller.signal;
    return other === undefined ? own : AbortSignal.any([other, own]);
  }

  /** Takes note of a request whose answer is of no interest here; {@link end} gives it a moment. */
  farewell(sent: Promise<unknown>): void {
    const over = (): void => void this.#farewells.delete(done);
    const done = sent.then(over, over);
    this.#farewells.add(done);
  }

  /** Waits for the farewells, for a second at most; not at all if the registry does not take `any` now. */
  async end({ any }: { readonly any: boolean }): Promise<void> {
    const enough = new AbortController();
    if (any && this.#farewells.size > 0) {
      const late = this.#clock.sleep(maxFarewellMs, enough.signal).catch(() => undefined);
      await Promise.race([Promise.all(this.#farewells), late]);
    }
    enough.abort();
    this.#controller.abort(new AppError("INTERRUPTED", "the connection was closed"));
  }
}
