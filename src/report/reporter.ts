/** What a command shows while it runs: the interface, and the choice of the view. */
import type { Totals, TransferEvent } from "../sync/events.ts";
import { LineReporter } from "./lines.ts";
import { type Environment, isLive, type Terminal } from "./terminal.ts";
import { LiveReporter } from "./tty.ts";

/** Takes the events of a run. Dispose stops its timer and leaves the terminal clean; it may come twice. */
export interface Reporter extends Disposable {
  on(event: TransferEvent): void;
  /**
   * Ends the view with a summary. `headline` is its sentence, in the past tense: `pulled 3 images into
   * bundle.tar`; what was unchanged or failed is added. An empty one is made of the verb and the totals.
   */
  finish(totals: Totals, headline: string): void;
}

export interface ReporterOptions {
  /** auto: bars on a terminal, lines otherwise; plain: lines; quiet: warnings and failures only. */
  readonly mode: "auto" | "plain" | "quiet";
  /** `process.stderr`: standard output belongs to results. */
  readonly stream: Terminal;
  readonly env: Environment;
  /** A clock in milliseconds; the one of the process if left out. */
  readonly now?: () => number;
  /** The command in the present tense: `pull`. */
  readonly verb: string;
}

/** Makes the reporter of a run. Use it with `using`. */
export function createReporter(options: ReporterOptions): Reporter {
  const { mode, stream, env, verb, now = () => performance.now() } = options;
  if (mode === "auto" && isLive(stream, env)) return new LiveReporter({ stream, env, now, verb });
  return new LineReporter({ stream, now, verb, quiet: mode === "quiet" });
}
