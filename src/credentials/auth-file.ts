/** Files of credentials: Docker's config.json, containers' auth.json, .dockercfg, Kubernetes secrets. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Credential } from "../content/credential.ts";
import { AppError, systemCode } from "../errors.ts";
import { entryCredential } from "./auth-entry.ts";
import { fileState } from "./file-state.ts";
import { keysFor, meansRegistry } from "./keys.ts";
import { secretsIn } from "./kubernetes-secret.ts";

/** What one such file says. */
export interface AuthFile {
  /** What messages call it. */
  readonly name: string;
  readonly auths: ReadonlyMap<string, unknown>;
  /** Names of credential helpers by registry. */
  readonly credHelpers: ReadonlyMap<string, string>;
  /** The helper for all registries. */
  readonly credsStore: string | undefined;
}

/**
 * `docker`: JSON with `auths`, `credHelpers` and `credsStore`. `legacy`: JSON that is itself the `auths`
 * (.dockercfg). `any`: JSON of the first kind, or a Kubernetes Secret in JSON or YAML.
 */
export type AuthFileFormat = "docker" | "legacy" | "any";

const record = z.record(z.string(), z.unknown());
const Config = z.object({
  auths: record.nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: z.string().nullish(),
});

/**
 * Reads a file; undefined if there is none. One of format `any` may hold several secrets, hence the list. Throws AUTH,
 * without a word of what is in it, for a file that cannot be read or is something else.
 */
export async function readAuthFile(
  path: string,
  format: AuthFileFormat,
): Promise<readonly AuthFile[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(path, error);
  }
  return parseAuthFile(text, path, format);
}

/** The error for a file that cannot be read. */
export function unreadable(path: string, cause: unknown): AppError {
  return new AppError("AUTH", `Cannot read ${path}: ${fileState(systemCode(cause), "it cannot be opened")}`, {
    hint: "check the path and its permissions",
    cause,
  });
}

/** The files in a text that messages call `name`. Throws as {@link readAuthFile} does. */
export function parseAuthFile(text: string, name: string, format: AuthFileFormat): readonly AuthFile[] {
  const clean = text.replace(/^\uFEFF/u, "");
  // An empty file is what `> config.json` leaves; Docker takes it for an empty object too.
  if (clean.trim() === "") return [];
  const document = parseJson(clean);
  if (format === "any") {
    const secrets = secretsIn(document === undefined ? clean : document.value, name);
    if (secrets !== undefined)
      return secrets.map((secret) => toAuthFile(secret.value, secret.name, secret.legacy));
  }
  if (document === undefined) {
    const what = format === "any" ? "neither JSON nor a Kubernetes Secret" : "not JSON";
    throw notDockers(name, `it is ${what}`);
  }
  return [toAuthFile(document.value, name, format === "legacy")];
}

function notDockers(name: string, state: string): AppError {
  return new AppError("AUTH", `Cannot read ${name}: ${state}`, {
    hint: "mend it: it has to be as Docker writes its config.json",
  });
}

function parseJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    // The parser's message quotes the text, and with it a secret: it is not kept.
    return undefined;
  }
}

function toAuthFile(value: unknown, name: string, legacy: boolean): AuthFile {
  const parsed = Config.safeParse(legacy ? { auths: value } : value);
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path.join(".") || "it";
    throw notDockers(name, `${path} is not as Docker writes it`);
  }
  const { auths, credHelpers, credsStore } = parsed.data;
  return {
    name,
    auths: new Map(Object.entries(auths ?? {})),
    credHelpers: new Map(Object.entries(credHelpers ?? {})),
    credsStore: credsStore || undefined,
  };
}

/** What the entries under `auths` have for a repository: the most specific key that holds something. */
export function authsCredential(
  file: AuthFile,
  registry: string,
  repository?: string,
): Credential | undefined {
  for (const key of keysFor([...file.auths.keys()], registry, repository)) {
    const credential = entryCredential(file.auths.get(key), file.name, key);
    if (credential !== undefined) return credential;
  }
  return undefined;
}

/** The helper that a file names for a registry: `credHelpers` before `credsStore`; an empty name is none. */
export function helperFor(file: AuthFile, registry: string): string | undefined {
  for (const [key, helper] of file.credHelpers) {
    if (meansRegistry(key, registry)) return helper || undefined;
  }
  return file.credsStore;
}
