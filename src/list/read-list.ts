/** Reads image lists: tells YAML from plain text, and puts several lists together. */
import { createReadStream } from "node:fs";
import { dirname, resolve } from "node:path";
import { AppError, systemCode } from "../errors.ts";
import { type ImageList, type ListSource, mergeLists, type ParsedList } from "./image-list.ts";
import { nearest } from "./nearest.ts";
import { parsePlainList, significantLines } from "./plain-list.ts";
import { Problems } from "./problems.ts";
import { knownKeys } from "./schema.ts";
import { parseYamlList } from "./yaml-list.ts";

/** No list larger than this is read, in bytes: over a hundred thousand images, and what the YAML parser bears. */
export const maxListBytes = 16 * 1024 * 1024;

const bothForms =
  'write YAML (version: 1, then images: with lines such as "  - nginx:1.27"), or plain text with one image reference a line';

/** Where {@link loadLists} finds things. */
export interface LoadOptions {
  /** Read to its end for the path `-`. */
  readonly stdin: AsyncIterable<Uint8Array | string>;
  /** The folder that relative paths start at. */
  readonly cwd: string;
}

/**
 * Reads one list from its text. Throws one LIST error that holds every problem, each with its place as
 * `name:line:column`; a list without images is a problem too.
 */
export function readList(source: ListSource): ImageList {
  const problems = new Problems();
  return merged([parseList(source, problems)], problems);
}

/**
 * Reads the lists at the paths (`-` is standard input) and puts them together: what is asked for twice is asked
 * for once. Throws LIST if a file cannot be read, and as {@link readList} does with the problems of all lists.
 */
export async function loadLists(paths: readonly string[], options: LoadOptions): Promise<ImageList> {
  const problems = new Problems();
  const lists: ParsedList[] = [];
  // Standard input can be read once, and a file twice is of no use.
  for (const path of new Set(paths)) {
    const isStdin = path === "-";
    const file = resolve(options.cwd, path);
    const name = isStdin ? "stdin" : path;
    const text = decode(name, await readAll(name, isStdin ? options.stdin : createReadStream(file)));
    lists.push(parseList({ name, text, folder: isStdin ? options.cwd : dirname(file) }, problems));
  }
  return merged(lists, problems);
}

function merged(lists: readonly ParsedList[], problems: Problems): ImageList {
  const list = mergeLists(lists, problems);
  problems.throwIfAny();
  return list;
}

function parseList(source: ListSource, problems: Problems): ParsedList {
  const clean = { ...source, text: source.text.replace(/^\uFEFF/u, "") };
  if (clean.text.length > maxListBytes) throw tooLarge(source.name);
  const lines = significantLines(clean.text);
  const top = { name: source.name, line: lines[0]?.line ?? 1, column: lines[0]?.column ?? 1 };
  if (lines.length === 0) {
    problems.add(top, "the list is empty", bothForms);
  } else if (clean.text.includes("\0")) {
    problems.add(top, "this is not text", bothForms);
  } else if (
    looksLikeYaml(
      lines.map((line) => line.text),
      clean.text,
    )
  ) {
    return parseYamlList(clean, problems);
  } else if (lines.filter(({ text }) => looksLikeReference(text)).length * 2 >= lines.length) {
    return parsePlainList(clean, problems);
  } else {
    problems.add(top, "this is not an image list", bothForms);
  }
  return { images: [], registries: [] };
}

/** True for JSON, and for a key of a list (or one nearly like it) at the start of a line. */
function looksLikeYaml(lines: readonly string[], text: string): boolean {
  if (lines[0]?.startsWith("{") || lines[0]?.startsWith("%YAML")) return true;
  const { keys } = knownKeys([]);
  for (const [, key] of text.matchAll(/^["']?([A-Za-z][\w-]*)["']?[ \t]*:(?=\s|$)/gmu)) {
    if (key !== undefined && nearest(key, keys) !== undefined) return true;
  }
  return false;
}

/** True for one word that does not begin like YAML or markup. Whether it is a reference is for its parser to say. */
function looksLikeReference(line: string): boolean {
  return /^(?:\[[0-9A-Fa-f:]+\]|[^\s[\]{}<>"',;-])[^\s{}<>"',;]*$/u.test(line) && !/^[\w-]+:$/u.test(line);
}

async function readAll(name: string, stream: AsyncIterable<Uint8Array | string>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of stream) {
      const bytes = Buffer.from(chunk);
      size += bytes.length;
      if (size > maxListBytes) throw tooLarge(name);
      chunks.push(bytes);
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw unreadable(name, error);
  }
  return Buffer.concat(chunks);
}

function decode(name: string, bytes: Buffer): string {
  // Windows PowerShell writes UTF-16 when output is redirected to a file.
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (error) {
    throw new AppError("LIST", `Cannot read list ${name}: it is not text in UTF-8`, {
      hint: bothForms,
      cause: error,
    });
  }
}

function tooLarge(name: string): AppError {
  const limit = `${maxListBytes / 1024 ** 2} MiB`;
  return new AppError("LIST", `Cannot read list ${name}: it is larger than ${limit}`, {
    hint: "split it into several lists, and make sure that it is a list and not a bundle",
  });
}

function unreadable(name: string, error: unknown): AppError {
  const code = systemCode(error);
  const fail = (state: string, hint: string): AppError =>
    new AppError("LIST", `Cannot read list ${name}: ${state}`, { hint, cause: error });
  const another =
    "write one (see manifests.example.yaml), name one with -f, or name images on the command line";
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return fail("there is no such file", another);
    case "EISDIR":
      return fail("it is a directory", "name a file in it with -f");
    case "EACCES":
    case "EPERM":
      return fail("permission denied", "make it readable for this user, or pipe it in with -f -");
    default:
      return fail(code ?? (error instanceof Error ? error.message : String(error)), another);
  }
}
