/**
 * How the program ends after Ctrl-C or SIGTERM. The first one lets the command put away what it has under way; if
 * that takes too long (a disk that hangs, a server that does not let go), or at the second one, it ends all the same:
 * whatever is on the disk by then is enough to go on from.
 */
import { AppError, exitCodes } from "../errors.ts";
import { reportError } from "./error-report.ts";

/** Time for what is under way, from the first signal on, in milliseconds: it has to be over within two seconds. */
const graceMs = 1_500;
/** npm and others pass on what the terminal has sent to all already: that is no second one. Milliseconds. */
const echoMs = 50;
const signals = ["SIGINT", "SIGTERM"] as const;

export interface InterruptionOptions {
  /** The command to run again. */
  readonly again: string;
  /** Told of the first signal, with the reason to end. */
  readonly onFirst: (error: AppError) => void;
  /** Leaves the terminal clean, where the command does not come to do it itself. */
  readonly release: () => void;
}

/** The first signal of this process; there is no way back from it. */
let interruption: AppError | undefined;
let told = false;

/** Listens for the signals that end a command until it is disposed of. */
export class Interruption implements Disposable {
  readonly #options: InterruptionOptions;
  readonly #onSignal: NodeJS.SignalsListener;
  #firstMs = 0;

  constructor(options: InterruptionOptions) {
    this.#options = options;
    this.#onSignal = () => {
      if (interruption === undefined) this.#first();
      else if (performance.now() - this.#firstMs > echoMs) this.#end();
    };
    for (const signal of signals) process.on(signal, this.#onSignal);
  }

  #first(): void {
    this.#firstMs = performance.now();
    const { again, onFirst } = this.#options;
    interruption = new AppError("INTERRUPTED", "interrupted", { hint: `run it again to go on: ${again}` });
    setTimeout(() => this.#end(), graceMs).unref();
    // Whoever waits for a list from there waits no longer.
    process.stdin.destroy();
    onFirst(interruption);
  }

  #end(): void {
    this.#options.release();
    if (interruption !== undefined && !told) {
      const report = reportError(interruption, process.env);
      if (process.argv.includes("--json"))
        process.stdout.write(`${JSON.stringify(report.json, undefined, 2)}\n`);
      else process.stderr.write(`${report.text}\n`);
    }
    endNow();
  }

  /** From here on the signals end the process as they end any other; after the first one, this goes on listening. */
  [Symbol.dispose](): void {
    if (interruption === undefined) for (const signal of signals) process.off(signal, this.#onSignal);
  }
}

/**
 * What to tell of a command that has thrown: after a signal that it was interrupted, since whatever else it throws
 * then comes from there; but a disk that fails is worth to be known. From here on it counts as told.
 */
export function withInterruption(thrown: unknown): unknown {
  if (interruption === undefined) return thrown;
  told = true;
  return thrown instanceof AppError && thrown.code === "DISK" ? thrown : interruption;
}

/**
 * Ends the process at once. Neither a name that the system looks up nor a disk that hangs can be called off, and
 * process.exit() waits for them; a signal does not, and shells take it for the same code.
 */
export function endNow(): never {
  for (const signal of signals) process.removeAllListeners(signal);
  if (process.stdin.isTTY) process.stdin.setRawMode(false);
  const isBusy = process.getActiveResourcesInfo().some((resource) => /^(?:FSReq|Get\w+Req)/.test(resource));
  // The first process of a container is not ended by a signal.
  if (isBusy) process.kill(process.pid, "SIGINT");
  process.exit(exitCodes.interrupted);
}
