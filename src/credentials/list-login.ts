/** Credentials that an image list has for a registry: a user name, and where its password is. */
import { readFile } from "node:fs/promises";
import type { Credential } from "../content/credential.ts";
import { AppError, systemCode } from "../errors.ts";
import { fileState } from "./file-state.ts";

/** What a list says; one of the three passwords. */
export interface ListLogin {
  readonly username: string;
  readonly password?: string | undefined;
  /** The path of a file that holds nothing else. */
  readonly passwordFile?: string | undefined;
  /** The name of a variable of the environment. */
  readonly passwordVariable?: string | undefined;
  /** Where it is written: `manifests.yaml:12:5`. */
  readonly place: string;
}

const maxPasswordBytes = 64 * 1024;

/** The credential that it comes to. Throws AUTH where there is no password to be found. */
export async function listCredential(login: ListLogin, env: NodeJS.ProcessEnv): Promise<Credential> {
  const { username, password, passwordFile, passwordVariable, place } = login;
  const fail = (message: string, hint: string, cause?: unknown): AppError =>
    new AppError("AUTH", message, { hint, cause });
  if (passwordFile !== undefined) {
    let bytes: Buffer;
    try {
      bytes = await readFile(passwordFile);
    } catch (error) {
      const code = systemCode(error);
      const state = fileState(code, "it cannot be opened");
      throw fail(`Cannot read ${passwordFile}: ${state}`, `check passwordFile at ${place}`, error);
    }
    const text = bytes.toString("utf8").replace(/\r?\n$/, "");
    if (text === "" || bytes.length > maxPasswordBytes) {
      const state = text === "" ? "it is empty" : "it is too large for a password";
      throw fail(`Cannot read ${passwordFile}: ${state}`, `check passwordFile at ${place}`);
    }
    return { username, password: text, origin: `${passwordFile} (named at ${place})` };
  }
  if (passwordVariable !== undefined) {
    const text = env[passwordVariable] ?? "";
    if (text !== "") return { username, password: text, origin: `${passwordVariable} (named at ${place})` };
    throw fail(
      `Cannot use ${passwordVariable}: it is not set`,
      `set it, or check passwordVariable at ${place}`,
    );
  }
  return { username, password: password ?? "", origin: place };
}
