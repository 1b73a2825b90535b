/** The program, started to be killed: in the moment when so many bytes have gone over a line, or at a named point. */
import { readFile, rm } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type RunningMirror, type RunResult, startMirror } from "../../support/cli.ts";
import { type CountingRelay, connectionsOf } from "./counting-relay.ts";
import { connectionTable, freezeProcess, unreadBytes } from "./kernel.ts";
import type { Moment } from "./line.ts";

/** The URL of the file that listens to named points. */
export const hook = pathToFileURL(fileURLToPath(new URL("../hook.mjs", import.meta.url))).href;

/** A command to run again and again. */
export interface Attempt {
  readonly args: readonly string[];
  readonly cwd: string;
  /** What the runs are to have in common besides `cwd`: XDG_STATE_HOME is in it. */
  readonly env?: Readonly<Record<string, string>>;
  /** The line on which moments are counted, and over which content comes to the program. */
  readonly relay: CountingRelay;
}

/** One kill. */
export interface Kill {
  /** Connections of the program that blobs came over. */
  readonly connections: number;
  /** Bytes that the relay had sent to the program, and that lay unread in the kernel. */
  readonly unread: number;
}

/** How a run went. `kill` is missing if it ended before. */
export interface Run {
  readonly result: RunResult;
  readonly kill?: Kill;
}

/** Starts the program with the hook that listens to named points. */
export function startAttempt({ args, cwd, env = {} }: Attempt, more: Readonly<Record<string, string>> = {}) {
  return startMirror(args, {
    cwd,
    env: { XDG_STATE_HOME: `${cwd}/state`, NODE_OPTIONS: `--import=${hook}`, ...env, ...more },
  });
}

/** Runs a command to its end. */
export async function runToEnd(attempt: Attempt, env?: Readonly<Record<string, string>>): Promise<RunResult> {
  await using running = await startAttempt(attempt, env);
  return await running.result;
}

/** Kills the program in a moment that is counted on the line. */
export async function runUntil(attempt: Attempt, moment: Moment): Promise<Run> {
  const { relay } = attempt;
  await using running = await startAttempt(attempt);
  const come = Promise.withResolvers<void>();
  relay.line.at(moment, () => come.resolve());
  const ended = running.result.then(() => undefined);
  await Promise.race([come.promise, ended]);
  relay.line.clear();
  const kill = running.child.exitCode === null ? await killNow(running, relay) : undefined;
  relay.line.thaw();
  const result = await running.result;
  await settled(relay);
  return { result, ...(kill === undefined ? {} : { kill }) };
}

/** Kills a program that runs, and says what it had not seen by then. */
export async function killNow(running: RunningMirror, relay: CountingRelay): Promise<Kill> {
  // It does nothing more from here on; what lies in the kernel can be counted in peace.
  await freezeProcess(running.pid);
  const kill = { connections: relay.blobConnections, unread: unreadBytes(connectionTable(), relay.port) };
  running.kill("SIGKILL");
  await running.result;
  return kill;
}

/** Lets the program end itself at a named point: `blob:written#3`. */
export async function runUntilPoint(attempt: Attempt, point: string): Promise<Run> {
  const { cwd, relay } = attempt;
  const table = `${cwd}/connections`;
  await rm(table, { force: true });
  const before = relay.exchanges.length;
  await using running = await startAttempt(attempt, { CRASH_AT: point, CRASH_NET: table });
  const result = await running.result;
  await settled(relay);
  if (result.signal !== "SIGKILL") return { result };
  // They are gone by now; few of them are ever closed before a run ends.
  const connections = connectionsOf(relay.exchanges.slice(before)).length;
  return { result, kill: { connections, unread: unreadBytes(await readFile(table, "utf8"), relay.port) } };
}

/** Runs to the end, and gives the names of all points that it reached, in order. */
export async function pointsOf(
  attempt: Attempt,
): Promise<{ readonly result: RunResult; readonly points: readonly string[] }> {
  const log = `${attempt.cwd}/points`;
  await rm(log, { force: true });
  const result = await runToEnd(attempt, { CRASH_LOG: log });
  const text = await readFile(log, "utf8").catch(() => "");
  return { result, points: text.split("\n").flatMap((line) => line.split(" ")[0] || []) };
}

/** The first and the last time that each point was reached, as {@link runUntilPoint} takes them; and the one between. */
export function placesOf(
  points: readonly string[],
  { middle }: { readonly middle: boolean },
): readonly string[] {
  return [...new Set(points)].flatMap((name) => {
    const count = points.filter((each) => each === name).length;
    const numbers = [1, ...(middle ? [Math.ceil(count / 2)] : []), count];
    return [...new Set(numbers)].map((number) => `${name}#${number}`);
  });
}

/** Waits until the relay has noticed that the program's connections are gone. */
async function settled(relay: CountingRelay): Promise<void> {
  relay.drop();
  while (relay.exchanges.some(({ over }) => !over)) await setImmediate();
}
