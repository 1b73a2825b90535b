/** Ctrl-C and SIGTERM at a moment that is counted on the line, or at a named point; and how long the end takes. */
import { readFile, rm } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
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

/** Who interrupts: once, or with the same signal again and again until it is over. */
export type Signals = "SIGINT" | "SIGTERM" | "SIGINTs";

/**
 * Interrupts the program. At a moment, the line stands still from the signal on: the program cannot wait for anybody.
 */
export async function interrupt(attempt: Attempt, phase: Phase, signals: Signals): Promise<Interruption> {
  const signal = signals === "SIGINTs" ? "SIGINT" : signals;
  return "point" in phase
    ? await interruptAtPoint(attempt, phase.point, signal)
    : await interruptAtMoment(attempt, phase.moment, { signal, again: signals === "SIGINTs" });
}

async function interruptAtMoment(
  attempt: Attempt,
  moment: Moment,
  { signal, again }: { readonly signal: "SIGINT" | "SIGTERM"; readonly again: boolean },
): Promise<Interruption> {
  const { line } = attempt.relay;
  await using running = await startAttempt(attempt);
  let since = Number.NaN;
  const insist = async (): Promise<void> => {
    // Signals of one kind that come at the same time count as one.
    while (running.child.exitCode === null && running.child.signalCode === null) {
      running.kill(signal);
      await setImmediate();
    }
  };
  let insisted: Promise<void> | undefined;
  line.at(moment, () => {
    since = performance.now();
    if (again) insisted = insist();
    else running.kill(signal);
  });
  const result = await running.result;
  const ms = performance.now() - since;
  await insisted;
  line.clear();
  line.thaw();
  return { result, ms };
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
