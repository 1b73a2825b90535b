/** Runs the program as a user does, as a process of its own, with nothing of this machine's configuration. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { tempDir } from "./temp.ts";

/** The file that starts the program. */
export const programPath = fileURLToPath(new URL("../../bin/run.js", import.meta.url));

export interface RunOptions {
  /** The test's own folder if left out. */
  readonly cwd?: string;
  /** Added to the clean environment; undefined takes a variable out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What the program reads from its standard input; nothing if left out. */
  readonly stdin?: string | Uint8Array;
  /** Its standard input stays open behind that: whoever reads it waits. */
  readonly stdinStaysOpen?: boolean;
  /** A program that runs this one, with its arguments: strace, setpriv. */
  readonly under?: readonly string[];
}

/** What a program left behind. */
export interface RunResult {
  /** Exit code; null if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as it came, for bundles. */
  readonly output: Buffer;
}

/** A program that runs. Disposing of it kills it and waits for its end. */
export interface RunningMirror extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** What it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
  readonly result: Promise<RunResult>;
  kill(signal?: NodeJS.Signals): void;
  /** Waits until the pattern is in what it wrote to either stream; throws if it ends without that. */
  until(pattern: RegExp): Promise<void>;
}

/** An environment without credentials, proxies and settings: every place that the program looks into is in `home`. */
export function cleanEnvironment(
  home: string,
  extra: RunOptions["env"] = {},
): Record<string, string | undefined> {
  const foreign =
    /^(?:MIRROR_.*|.*_proxy|XDG_.*|REGISTRY_AUTH_FILE|DOCKER_AUTH_CONFIG|KUBECONFIG|NO_COLOR|FORCE_COLOR|CI|NODE_.*)$/i;
  const inherited = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return {
    ...Object.fromEntries(inherited),
    NODE_COMPILE_CACHE: process.env["OCI_MIRROR_COMPILED"],
    HOME: home,
    DOCKER_CONFIG: `${home}/.docker`,
    XDG_CONFIG_HOME: `${home}/.config`,
    XDG_CACHE_HOME: `${home}/.cache`,
    XDG_DATA_HOME: `${home}/.local/share`,
    XDG_STATE_HOME: `${home}/.local/state`,
    XDG_RUNTIME_DIR: `${home}/.run`,
    ...extra,
  };
}

/** Runs the program to its end. */
export async function runMirror(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  await using running = await startMirror(args, options);
  return await running.result;
}

/** Starts the program and gives it to the test, to watch and to signal. */
export async function startMirror(args: readonly string[], options: RunOptions = {}): Promise<RunningMirror> {
  const home = await tempDir();
  const cwd = options.cwd ?? home.join("cwd");
  if (options.cwd === undefined) await mkdir(cwd);
  const [program = process.execPath, ...words] = [
    ...(options.under ?? []),
    process.execPath,
    programPath,
    ...args,
  ];
  const child = spawn(program, words, {
    cwd,
    env: cleanEnvironment(home.path, options.env),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  // A program that ends before it has read everything is no failure of the test.
  child.stdin.on("error", () => undefined);
  if (options.stdinStaysOpen === true) child.stdin.write(options.stdin ?? "");
  else child.stdin.end(options.stdin);
  const ended = once(child, "close");
  // Awaited by `result` and by the disposal; until one of them does, a failed start must not end the test run.
  ended.catch(() => undefined);
  const result = ended.then(() => ({
    code: child.exitCode,
    signal: child.signalCode,
    stdout: text(out),
    stderr: text(err),
    output: Buffer.concat(out),
  }));
  result.catch(() => undefined);
  if (child.pid === undefined) {
    await ended.finally(() => home[Symbol.asyncDispose]());
    throw new Error(`Cannot start ${process.execPath}`);
  }
  return {
    pid: child.pid,
    child,
    get stdout() {
      return text(out);
    },
    get stderr() {
      return text(err);
    },
    result,
    kill: (signal) => void child.kill(signal),
    until: (pattern) => until({ child, result }, pattern, () => `${text(out)}\n${text(err)}`),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
      await home[Symbol.asyncDispose]();
    },
  };
}

function until(
  { child, result }: Pick<RunningMirror, "child" | "result">,
  pattern: RegExp,
  written: () => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      child.stdout.off("data", look);
      child.stderr.off("data", look);
      settle();
    };
    const look = (): void => {
      if (pattern.test(written())) finish(resolve);
    };
    const end = (): void => {
      finish(() => reject(new Error(`The program ended without ${String(pattern)}:\n${written()}`)));
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    look();
    result.then(end, end);
  });
}

function text(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString("utf8");
}
