/** What `mirror login` and `mirror logout` do: which registry, which credential, is it taken, where is it kept. */
import type { Credential } from "../content/credential.ts";
import { Credentials } from "../credentials/credentials.ts";
import { environmentCredential } from "../credentials/environment.ts";
import { eraseCredential, type Stored, storeCredential } from "../credentials/store.ts";
import { AppError, hinted, isAppError, toAppError } from "../errors.ts";
import { parseRegistryHost } from "../list/target-name.ts";
import { drain } from "../registry/http.ts";
import { type PromptInput, type PromptOutput, promptLogin } from "./login-prompt.ts";
import { Registries, type RegistryFlags } from "./registries.ts";
import { parseRegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";

/** What `mirror login --json` prints. */
export interface LoginResult {
  readonly registry: string;
  readonly username: string;
  /** False: the registry asks for no login, so there was nothing to check the password with. */
  readonly checked: boolean;
  readonly stored: Stored;
}

/** What `mirror logout --json` prints. */
export interface LogoutResult {
  readonly registry: string;
  /** The places that credentials were taken from. */
  readonly removed: readonly Stored[];
}

/** A user name with its password, and where they come from. */
export type Login = Credential & { readonly username: string; readonly password: string };

export interface LoginFlags extends RegistryFlags {
  readonly username?: string | undefined;
  readonly "password-stdin"?: boolean | undefined;
}

/** Where the password may come from. */
export interface LoginStreams {
  readonly input: PromptInput;
  readonly output: PromptOutput;
  readonly env: NodeJS.ProcessEnv;
}

const maxPasswordBytes = 64 * 1024;

/**
 * The registry that HOST means, as references name it. People paste `https://host/` and Docker's key
 * `https://index.docker.io/v1/`. Throws USAGE for what is none, or has a path behind it.
 */
export function loginHost(text: string): string {
  const { host, prefix } = parseRegistryTarget(text.replace(/^https:\/\/([^/]+)\/*(?:v[12]\/?)?$/i, "$1"));
  if (prefix === "") return parseRegistryHost(host);
  throw new AppError("USAGE", `Cannot log in to ${text}: a login is for a whole registry`, {
    hint: `write ${host}`,
  });
}

/**
 * The user name and password: of `--password-stdin`, of the environment, or asked for on the terminal. Throws USAGE if
 * there is no way to get them, INTERRUPTED for Ctrl-C.
 */
export async function readLogin(host: string, flags: LoginFlags, streams: LoginStreams): Promise<Login> {
  const { input, output, env } = streams;
  const username = flags.username || undefined;
  if (username?.includes(":") === true)
    throw new AppError("USAGE", `Cannot log in to ${host}: a user name holds no colon`, {
      hint: "write the name alone; the password is asked for",
    });
  const piped = `mirror login ${host} --username ${username ?? "USER"} --password-stdin < FILE`;
  if (flags["password-stdin"] === true) {
    const name = username ?? (env["MIRROR_USERNAME"] || undefined);
    if (name === undefined)
      throw new AppError("USAGE", "Cannot use --password-stdin: there is no user name with it", {
        hint: "pass --username USER",
      });
    if (input.isTTY === true)
      throw new AppError("USAGE", "Cannot use --password-stdin: standard input is a terminal", {
        hint: `pipe the password in: ${piped}; or leave the flag out to be asked`,
      });
    return { username: name, password: await readPassword(input, piped), origin: "standard input" };
  }
  const given = username === undefined ? environmentCredential(host, env, true) : undefined;
  if (given?.username !== undefined && given.password !== undefined)
    return { ...given, username: given.username, password: given.password };
  if (input.isTTY !== true)
    throw new AppError("USAGE", `Cannot log in to ${host}: standard input is no terminal to ask on`, {
      hint: `pipe the password in: ${piped}; or set MIRROR_USERNAME and MIRROR_PASSWORD`,
    });
  return { ...(await promptLogin(input, output, username)), origin: "the terminal" };
}

async function readPassword(input: AsyncIterable<Uint8Array | string>, piped: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > maxPasswordBytes) break;
    chunks.push(bytes);
  }
  const password = Buffer.concat(chunks)
    .toString("utf8")
    .replace(/\r?\n$/, "");
  if (password !== "" && size <= maxPasswordBytes) return password;
  const state = password === "" ? "nothing came from standard input" : "it is too large for a password";
  throw new AppError("USAGE", `Cannot use --password-stdin: ${state}`, { hint: `write ${piped}` });
}

/**
 * Asks the registry whether it takes the credential: false if it asks for none. Throws AUTH if it refuses, and what
 * keeps it from being reached.
 */
export async function checkLogin(
  host: string,
  login: Login,
  flags: LoginFlags,
  session: Session,
): Promise<boolean> {
  let asked = false;
  const find = async (): Promise<Credential> => {
    asked = true;
    return login;
  };
  await using registries = new Registries({ ...flags, login: find }, new Map(), session);
  await registries.prepare([host]);
  const client = registries.client(host);
  const { signal } = session;
  await client.connect(signal);
  const mayBeSent = client.secure || flags["plain-http"]?.includes(host) === true;
  try {
    const what = `log in to ${host}`;
    await drain(
      await client.request({ method: "GET", path: "/v2/", what, scopes: [], signal, accept: [200] }),
    );
  } catch (error) {
    if (!isAppError(error, "AUTH") || !mayBeSent) throw error;
    throw hinted(
      error,
      "check the user name and the password; some registries want an access token instead of the password",
    );
  }
  return asked;
}

/** Keeps a login. Warns where others could read it. Throws AUTH or DISK. */
export async function keepLogin(
  host: string,
  login: Login,
  flags: LoginFlags,
  session: Session,
): Promise<Stored> {
  const { authfile } = flags;
  const stored = await storeCredential(host, login, { env: process.env, authfile, signal: session.signal });
  if (stored.helper === undefined) {
    session.emit({
      type: "warning",
      message: `the password stands in ${stored.file} encoded, not encrypted: whoever reads the file has it`,
      hint: `to have it encrypted, name a credential helper in it (credsStore), and log in again`,
    });
  }
  return stored;
}

/** Forgets a login, and warns of what still has one. Throws AUTH or DISK. */
export async function forgetLogin(
  host: string,
  authfile: string | undefined,
  session: Session,
): Promise<readonly Stored[]> {
  const { env } = process;
  const { signal } = session;
  const removed = await eraseCredential(host, { env, authfile, signal });
  const warn = (message: string): void => session.emit({ type: "warning", message });
  try {
    const credentials = new Credentials({ env, authfile });
    signal.addEventListener("abort", () => credentials.close(), { once: true });
    const left = await credentials.finder(host)(undefined);
    if (left !== undefined) warn(`there are still credentials for ${host}: ${left.origin}`);
  } catch (error) {
    // The logout itself is done.
    warn(toAppError(error).message);
  }
  return removed;
}

/** `~/.docker/config.json`, or the helper that it names. */
export function storedText({ file, helper }: Stored): string {
  return helper === undefined ? file : `${helper} (named by ${file})`;
}
