/** How long to wait before another try, and the clock that waits: injected, so that tests never sleep. */
import { setTimeout as sleep } from "node:timers/promises";
import { AppError, isAppError } from "../errors.ts";

/** Time as the program sees it. `now` is monotonic, in milliseconds. */
export interface Clock {
  now(): number;
  /** Resolves after `ms` milliseconds; rejects with INTERRUPTED, or the signal's own AppError, when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A number in [0, 1). */
  random(): number;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
      throw isAppError(signal?.reason)
        ? signal.reason
        : new AppError("INTERRUPTED", "interrupted", { cause: error });
    });
  },
  random: Math.random,
};

/** How often something is tried before its failure counts. The count begins anew whenever bytes have moved. */
export const maxAttempts = 5;
const firstDelayMs = 500;
const maxDelayMs = 30_000;

/** Exponential back-off with full jitter: up to 0.5 s before the second try, doubling to at most 30 s. */
export function backoffMs(attempt: number, clock: Clock): number {
  return Math.round(clock.random() * Math.min(maxDelayMs, firstDelayMs * 2 ** Math.max(0, attempt - 1)));
}
