/** Ctrl-C and SIGTERM at a moment that is counted on the line, or at a named point; and how long the end takes. */
import { readFile, rm } from "node:fs/promises";
import type { RunResult } from "../../support/cli.ts";
import type { Moment } from "./line.ts";
import { type Attempt, startAttempt } from "./victim.ts";

/** When the signal comes. */
export type Phase = { readonly moment: Moment } | { readonly point: string };

/** How an interrupted run ended. */
export interface Interruption {
  readonly result: RunResult;
  /** From the signal to the end of the process. NaN if the moment never came. */
  readonly ms: number;
}

/**
 * Interrupts the program. At a moment, the line stands still from the signal on: the program cannot wait for anybody.
 */
export async function interrupt(
  attempt: Attempt,
  phase: Phase,
  signal: "SIGINT" | "SIGTERM",
): Promise<Interruption> {
  return "point" in phase
    ? await interruptAtPoint(attempt, phase.point, signal)
    : await interruptAtMoment(attempt, phase.moment, signal);
}

async function interruptAtMoment(
  attempt: Attempt,
  moment: Moment,
  signal: "SIGINT" | "SIGTERM",
): Promise<Interruption> {
  const { line } = attempt.relay;
  await using running = await startAttempt(attempt);
  let since = Number.NaN;
  line.at(moment, () => {
    since = performance.now();
    running.kill(signal);
  });
  const result = await running.result;
  line.clear();
  line.thaw();
  return { result, ms: performance.now() - since };
}

async function interruptAtPoint(
  attempt: Attempt,
  point: string,
  signal: "SIGINT" | "SIGTERM",
): Promise<Interruption> {
  const log = `${attempt.cwd}/signal`;
  await rm(log, { force: true });
  await using running = await startAttempt(attempt, {
    CRASH_AT: point,
    CRASH_SIGNAL: signal,
    CRASH_LOG: log,
  });
  const result = await running.result;
  const now = Date.now();
  const text = await readFile(log, "utf8").catch(() => "");
  return { result, ms: now - Number(/^signal (\d+)$/m.exec(text)?.[1] ?? "x") };
}
