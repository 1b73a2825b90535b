/** What one run of a command holds: its reporter, its figures, its registries, and the signal that ends it. */
import { systemClock } from "../content/retry.ts";
import { createReporter, type Reporter } from "../report/reporter.ts";
import type { Emit, Totals } from "../sync/events.ts";
import { Tally } from "../sync/tally.ts";
import { Interruption } from "./interruption.ts";

export interface SessionOptions {
  readonly quiet: boolean;
  /** Lines instead of bars also on a terminal, where others write to it too. */
  readonly plain?: boolean;
  /** The command in the present tense, for the reporter: `pull`. */
  readonly verb: string;
  /** The command to run again, for the message on Ctrl-C. */
  readonly again: string;
}

/** One run. Dispose of it with `using`. */
export class Session implements Disposable {
  readonly emit: Emit;
  readonly #controller = new AbortController();
  readonly #reporter: Reporter;
  readonly #tally = new Tally(systemClock);
  readonly #interruption: Interruption;

  constructor(options: SessionOptions) {
    this.#reporter = createReporter({
      mode: options.quiet ? "quiet" : options.plain === true ? "plain" : "auto",
      stream: process.stderr,
      env: process.env,
      verb: options.verb,
    });
    this.emit = (event) => {
      this.#tally.on(event);
      this.#reporter.on(event);
    };
    this.#interruption = new Interruption({
      again: options.again,
      onFirst: (error) => this.#controller.abort(error),
      release: () => this.#reporter[Symbol.dispose](),
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the live view with the summary, and gives its figures. */
  finish(headline = ""): Totals {
    const totals = this.#tally.totals();
    this.#reporter.finish(totals, headline);
    return totals;
  }

  /** Says what is good to know. */
  readonly note = (message: string): void => {
    this.emit({ type: "note", message });
  };

  totals(): Totals {
    return this.#tally.totals();
  }

  [Symbol.dispose](): void {
    this.#interruption[Symbol.dispose]();
    this.#reporter[Symbol.dispose]();
  }
}
