/** One entry under `auths`, as Docker, Podman and Kubernetes write it, as a credential. */
import { z } from "zod";
import type { Credential } from "../content/credential.ts";
import { AppError } from "../errors.ts";

const Entry = z.object({
  auth: z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  identitytoken: z.string().nullish(),
  registrytoken: z.string().nullish(),
});

/**
 * The credential of an entry; undefined if it holds nothing, which means to look on (Docker leaves `{}` behind).
 * `file` and `key` are where it stands. Throws AUTH, without a word of the entry, for one that is not as Docker
 * writes it.
 */
export function entryCredential(entry: unknown, file: string, key: string): Credential | undefined {
  if (entry === null || entry === undefined) return undefined;
  const fail = (state: string): AppError =>
    new AppError("AUTH", `Cannot use the credentials in ${file} (key ${key}): ${state}`, {
      hint: "log in again with mirror login, or mend the entry",
    });
  const parsed = Entry.safeParse(entry);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.join(".") || "the entry";
    throw fail(`${field} is not as Docker writes it`);
  }
  const { auth, username, password, identitytoken, registrytoken } = parsed.data;
  const origin = `${file} (key ${key})`;
  const decoded = auth ? decode(auth) : undefined;
  if (auth && decoded === undefined) throw fail("auth is not the base64 of user:password");
  const found: Credential = {
    username: username || decoded?.username,
    password: password || decoded?.password || undefined,
    identityToken: identitytoken || undefined,
    registryToken: registrytoken || undefined,
    origin,
  };
  if (found.identityToken || found.registryToken || (found.username && found.password)) return found;
  if (!found.username && !found.password) return undefined;
  throw fail(found.username ? "there is no password in it" : "there is no user name in it");
}

/** `user:password` as the value of `auth`. */
export function encodeAuth(username: string, password: string): string {
  return Buffer.from(`${username}:${password}`, "utf8").toString("base64");
}

/** Docker splits at the first colon, and drops NULs at the end. */
function decode(auth: string): { readonly username: string; readonly password: string } | undefined {
  // Node's decoder takes anything, and leaves out what is no base64.
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(auth.trim())) return undefined;
  const text = Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = text.indexOf(":");
  return colon > 0 ? { username: text.slice(0, colon), password: text.slice(colon + 1) } : undefined;
}
