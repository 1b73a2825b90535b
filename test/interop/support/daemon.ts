/** A server of one test that says in its log when it is ready. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { endWithThisProcess, stop } from "./process.ts";

/** How a daemon is started. */
export interface DaemonOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** What the line on stderr has in it that says it is ready. */
  readonly ready: string;
  /** Ends what is left of it, after its process. */
  readonly cleanUp: () => Promise<void>;
}

const startTimeoutMs = 30_000;

/** Starts it and waits until it is ready; the result ends it. Throws with its log when it does not start. */
export async function startDaemon(options: DaemonOptions): Promise<() => Promise<void>> {
  const child = spawn(options.program, options.args, { stdio: ["ignore", "ignore", "pipe"] });
  endWithThisProcess(child);
  const close = async (): Promise<void> => {
    await stop(child);
    await options.cleanUp();
  };
  const log: string[] = [];
  try {
    await new Promise<void>((settle, fail) => {
      const give = (reason: string): void => {
        clearTimeout(timer);
        fail(new Error(`${options.program} does not start: ${reason}\n${log.slice(-20).join("\n")}`));
      };
      const timer = setTimeout(() => give(`not ready after ${startTimeoutMs / 1000} s`), startTimeoutMs);
      child.once("error", (error) => give(error.message));
      child.once("exit", (code) => give(`exit code ${code}`));
      createInterface({ input: child.stderr }).on("line", (line) => {
        log.push(line);
        if (log.length > 50) log.shift();
        if (!line.includes(options.ready)) return;
        clearTimeout(timer);
        settle();
      });
    });
  } catch (error) {
    await close();
    throw error;
  }
  return close;
}
