/** How long one request is tried again: some tries, more where others get through, a minute where the host is away. */
import { type Clock, maxAttempts } from "../content/retry.ts";
import type { AppError } from "../errors.ts";
import { RegistryError } from "./errors.ts";
import type { Pace } from "./pace.ts";

/** Tries of one request, however much others get through. */
const maxTries = 60;
/** What a proxy answers for a registry that is away. */
const awayStatuses: ReadonlySet<number> = new Set([502, 503, 504]);

export interface BudgetOptions {
  /**
   * A registry that has answered in this run and is away now (a pod that restarts, a line that is down) is waited
   * for so long, in milliseconds.
   */
  readonly patienceMs: number;
  /** A registry that limits us is waited for as long as it wants. */
  readonly waitsForLimit: boolean;
}

/** The budget of one request. */
export class Budget {
  readonly #pace: Pace;
  readonly #clock: Clock;
  readonly #options: BudgetOptions;
  #answered: number;
  #firstFailureMs: number | undefined;
  #tries = 0;
  /** The last two tries failed, and nobody was answered in between: the registry is away. */
  away = false;
  /** Number of the try that failed last, since the budget last began anew; it makes the back-off. */
  attempt = 0;

  constructor(pace: Pace, clock: Clock, options: BudgetOptions) {
    this.#pace = pace;
    this.#clock = clock;
    this.#options = options;
    this.#answered = pace.answered;
  }

  /** Counts a failure. */
  count(failure: AppError): void {
    const silent = this.#pace.answered === this.#answered;
    this.away = this.#tries > 0 && silent && isAway(failure);
    this.#tries += 1;
    this.attempt += 1;
    this.#firstFailureMs ??= this.#clock.now();
    // A registry that limits us but lets others of us through is only busy.
    const renewed = this.#pace.answered > this.#answered || this.#options.waitsForLimit;
    if (failure instanceof RegistryError && failure.limited && renewed) this.attempt = 1;
    this.#answered = this.#pace.answered;
  }

  /** A delay before the next try that does not go beyond the patience with a registry that is away. Milliseconds. */
  within(delayMs: number): number {
    if (this.attempt < maxAttempts) return delayMs;
    const leftMs = this.#options.patienceMs - (this.#clock.now() - (this.#firstFailureMs ?? 0));
    return Math.min(delayMs, Math.max(leftMs, 1));
  }

  /** True if there is no use in another try after this failure. */
  isSpent(failure: AppError): boolean {
    if (this.#tries >= maxTries) return true;
    if (this.attempt < maxAttempts) return false;
    const waitedMs = this.#clock.now() - (this.#firstFailureMs ?? 0);
    return !(isAway(failure) && this.#pace.answered > 0 && waitedMs < this.#options.patienceMs);
  }
}

function isAway(failure: AppError): boolean {
  return failure.code === "NETWORK" || (failure instanceof RegistryError && awayStatuses.has(failure.status));
}
