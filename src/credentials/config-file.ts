/** Changes Docker's config.json (or an auth.json) in place: everything else in it stays, its order of keys included. */
import { randomBytes } from "node:crypto";
import {
  lstat,
  mkdir,
  open,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { AppError, systemCode } from "../errors.ts";
import { unreadable } from "./auth-file.ts";
import { fileState } from "./file-state.ts";
import { secretsIn } from "./kubernetes-secret.ts";

/** Of a file that stays where it is, or of a folder that takes no other. */
const unreplaceable: ReadonlySet<string> = new Set(["EBUSY", "EXDEV", "EROFS", "EACCES", "EPERM"]);

/** A JSON object of the file. */
export type JsonObject = Record<string, unknown>;

/**
 * Reads the file, has `change` change it, and writes it if that returned true: private (0600), under a temporary name
 * beside it and renamed. Through a symbolic link the file that it leads to is written. Throws AUTH if it is something
 * else than Docker writes, and DISK if it cannot be written.
 */
export async function changeConfig(path: string, change: (config: JsonObject) => boolean): Promise<void> {
  const target = await followed(path);
  const text = await readText(target, path);
  const config = parse(text, path);
  if (!change(config)) return;
  const indent = /^\{\r?\n([ \t]+)"/.exec(text)?.[1] ?? "\t";
  const end = text === "" || text.endsWith("\n") ? "\n" : "";
  await replace(target, path, `${JSON.stringify(config, null, indent)}${end}`);
}

/** The object under a key, made if it is not there. Throws AUTH if something else is. */
export function section(config: JsonObject, key: string, path: string): JsonObject {
  config[key] ??= {};
  const value = config[key];
  if (isObject(value)) return value;
  throw unchangeable(path, `${key} is not as Docker writes it`);
}

function parse(text: string, path: string): JsonObject {
  const clean = text.replace(/^\uFEFF/u, "");
  if (clean.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(clean);
  } catch {
    // The parser's message quotes the text, and with it a secret.
    value = undefined;
  }
  if (isObject(value) && !isSecret(value, path)) return value;
  throw unchangeable(
    path,
    isSecret(value ?? clean, path) ? "it is of Kubernetes" : "it is not a JSON object",
  );
}

function unchangeable(path: string, state: string): AppError {
  return new AppError("AUTH", `Cannot change ${path}: ${state}`, {
    hint: "mend the file, or name another one with --authfile",
  });
}

function isSecret(value: unknown, path: string): boolean {
  try {
    return secretsIn(value, path) !== undefined;
  } catch {
    return true;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Where a link leads to in the end, whether or not there is a file. */
async function followed(path: string): Promise<string> {
  let at = resolve(path);
  for (let depth = 0; depth < 40; depth += 1) {
    try {
      return await realpath(at);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw unwritable(path, error);
      const link = await lstat(at).catch(() => undefined);
      if (link?.isSymbolicLink() !== true) return at;
      at = resolve(dirname(at), await readlink(at));
    }
  }
  return at;
}

async function readText(target: string, path: string): Promise<string> {
  try {
    return await readFile(target, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return "";
    throw unreadable(path, error);
  }
}

async function replace(target: string, path: string, text: string): Promise<void> {
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    const before = await stat(target).catch(() => undefined);
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(text);
      // Under sudo the file stays that of the user whose it is.
      if (before !== undefined) await file.chown(before.uid, before.gid).catch(() => undefined);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    // A file that is mounted on its own into a container can be written, and neither replaced nor accompanied.
    if (!unreplaceable.has(systemCode(error) ?? "")) throw unwritable(path, error);
    await writeFile(target, text, { flag: "r+" })
      .then(async () => await truncate(target, Buffer.byteLength(text)))
      .catch(() => {
        throw unwritable(path, error);
      });
  }
}

function unwritable(path: string, cause: unknown): AppError {
  return new AppError(
    "DISK",
    `Cannot write ${path}: ${fileState(systemCode(cause), "it cannot be replaced")}`,
    {
      hint: "check the permissions of its folder, or name another file with --authfile",
      cause,
    },
  );
}
