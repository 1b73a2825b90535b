/**
 * Credential helpers, the programs `docker-credential-NAME` (docker-credential-helpers' protocol, protocol notes
 * 1.7). What they write holds secrets, so none of it ever gets into a message.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { z } from "zod";
import type { Credential } from "../content/credential.ts";
import { AppError, systemCode, toAppError } from "../errors.ts";
import { storeKey } from "./keys.ts";

/** A helper, and the file that names it. */
export interface Helper {
  readonly name: string;
  readonly namedBy: string;
}

export interface HelperOptions {
  /** The environment that it runs in; its PATH is where it is looked for. */
  readonly env: NodeJS.ProcessEnv;
  /** How long it may take, in milliseconds; 30 s if left out. */
  readonly timeoutMs?: number | undefined;
  /** Ends it, and what it has started. */
  readonly signal?: AbortSignal | undefined;
}

const defaultTimeoutMs = 30_000;
const maxOutputBytes = 1024 * 1024;
const notFound = "credentials not found in native keychain";

const Answer = z.object({ Username: z.string(), Secret: z.string() });

/**
 * Asks a helper for a registry's credential: undefined if it has none. Throws AUTH for all that is no answer, and the
 * signal's reason.
 */
export async function askHelper(
  helper: Helper,
  registry: string,
  options: HelperOptions,
): Promise<Credential | undefined> {
  const key = storeKey(registry);
  const stdout = await run(helper, "get", key, options);
  if (stdout === undefined) return undefined;
  let answer: z.infer<typeof Answer>;
  try {
    answer = Answer.parse(JSON.parse(stdout));
  } catch {
    throw failed(helper, "what it wrote is not a credential");
  }
  const { Username: username, Secret: secret } = answer;
  if (username === "" && secret === "") return undefined;
  if (username === "" || secret === "")
    throw failed(helper, `there is no ${username === "" ? "user name" : "password"} in its answer`);
  const origin = `${programOf(helper)} (key ${key}, named by ${helper.namedBy})`;
  return username === "<token>" ? { identityToken: secret, origin } : { username, password: secret, origin };
}

/** Has a helper keep a registry's user name and password. Throws AUTH if it does not. */
export async function storeWithHelper(
  helper: Helper,
  registry: string,
  login: { readonly username: string; readonly password: string },
  options: HelperOptions,
): Promise<void> {
  const credential = { ServerURL: storeKey(registry), Username: login.username, Secret: login.password };
  const stdout = await run(helper, "store", JSON.stringify(credential), options);
  if (stdout === undefined) throw failed(helper, "it says that there is nothing to be found");
}

/** Has a helper forget a registry; false if it knew none. Throws AUTH if it cannot be asked. */
export async function eraseFromHelper(
  helper: Helper,
  registry: string,
  options: HelperOptions,
): Promise<boolean> {
  // Most helpers erase what is not there without a word.
  const key = storeKey(registry);
  if ((await run(helper, "get", key, options)) === undefined) return false;
  return (await run(helper, "erase", key, options)) !== undefined;
}

/** The program's name. */
export function programOf(helper: Helper): string {
  return `docker-credential-${helper.name}`;
}

/** Runs a helper to its end: what it wrote; undefined for "not found". */
async function run(
  helper: Helper,
  verb: "get" | "store" | "erase",
  input: string,
  options: HelperOptions,
): Promise<string | undefined> {
  if (!/^[A-Za-z0-9._-]+$/.test(helper.name)) {
    throw new AppError(
      "AUTH",
      `Cannot ask the credential helper ${JSON.stringify(helper.name)}: that is not the name of one`,
      { hint: `write the part behind docker-credential- in ${helper.namedBy}, such as pass or ecr-login` },
    );
  }
  const { code, stdout } = await finished(helper, verb, input, options);
  if (code === 0) return stdout;
  if (stdout.includes(notFound)) return undefined;
  throw failed(helper, code === null ? "it was killed" : `it ended with exit code ${code}`);
}

async function finished(
  helper: Helper,
  verb: string,
  input: string,
  { env, timeoutMs = defaultTimeoutMs, signal }: HelperOptions,
): Promise<{ readonly code: number | null; readonly stdout: string }> {
  signal?.throwIfAborted();
  return await new Promise((resolve, reject) => {
    // A group of its own: what it starts has to go with it.
    const child = spawn(programOf(helper), [verb], {
      env,
      stdio: ["pipe", "pipe", "ignore"],
      detached: true,
      windowsHide: true,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = (error?: AppError): void => {
      clearTimeout(timer);
      process.off("exit", killed);
      signal?.removeEventListener("abort", abort);
      if (error === undefined) return;
      kill(child);
      child.stdout.destroy();
      reject(error);
    };
    const killed = (): void => kill(child);
    const abort = (): void => stop(toAppError(signal?.reason));
    const timer = setTimeout(() => {
      stop(failed(helper, `it did not answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    process.once("exit", killed);
    signal?.addEventListener("abort", abort, { once: true });
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxOutputBytes) stop(failed(helper, `it wrote more than ${maxOutputBytes / 1024 ** 2} MiB`));
      else chunks.push(chunk);
    });
    child.on("error", (error) => stop(cannotStart(helper, error)));
    child.on("close", (code) => {
      stop();
      resolve({ code, stdout: Buffer.concat(chunks).toString("utf8") });
    });
    // One that ends without having read is judged by its exit code.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}

function kill(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // There are no process groups on Windows; elsewhere it has ended just now.
    child.kill("SIGKILL");
  }
}

function cannotStart(helper: Helper, cause: Error): AppError {
  const code = systemCode(cause);
  if (code === "ENOENT") return failed(helper, "there is no such program on the PATH", cause);
  return failed(helper, `it cannot be started (${code ?? cause.name})`, cause);
}

function failed(helper: Helper, state: string, cause?: Error): AppError {
  const program = programOf(helper);
  return new AppError(
    "AUTH",
    `Cannot ask the credential helper ${program}, named by ${helper.namedBy}: ${state}`,
    {
      hint: `make ${program} list work in this shell, take it out of ${helper.namedBy}, or name another file with --authfile`,
      cause,
    },
  );
}
