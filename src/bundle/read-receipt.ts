/** Reads receipts, repository by repository: one of a large registry is larger than what memory should hold. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { z } from "zod";
import { AppError } from "../errors.ts";
import { type Digest, finishDigest } from "../oci/digest.ts";
import { isRepository } from "../oci/reference.ts";
import { diskError } from "./disk.ts";
import { Receipt, ReceiptRepository } from "./receipt.ts";

/** No repository of a receipt is larger than this, in characters: a million blobs. */
const maxRepositoryLength = 100 * 1024 * 1024;
/** Nothing else in a receipt is. */
const maxFrameLength = 16 * 1024 * 1024;

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** A receipt without its repositories, each of which is a 0. */
const Frame = Receipt.extend({ repositories: z.array(z.literal(0)) });

/** True if a file begins as a receipt does, and not as an archive; false for anything but a file. Throws DISK. */
export async function looksLikeReceipt(path: string): Promise<boolean> {
  // A pipe is not even opened: that would wait for its other end.
  if ((await stat(path).catch(() => undefined))?.isFile() !== true) return false;
  try {
    for await (const chunk of createReadStream(path, { end: 63 }))
      return /^(?:\u00ef\u00bb\u00bf)?\s*\{/.test((chunk as Buffer).toString("latin1"));
    return false;
  } catch (error) {
    throw diskError(`read ${path}`, error);
  }
}

/**
 * Reads a receipt, and calls `take` with each of its repositories. Gives the registry that it is about and the digest
 * of its bytes. Throws NOT_FOUND, DISK, or BUNDLE for what is no receipt.
 */
export async function readReceipt(
  path: string,
  take: (repository: ReceiptRepository) => void,
): Promise<{ readonly registry: string; readonly fingerprint: Digest }> {
  const hash = createHash("sha256");
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let wrong: AppError | undefined;
  const splitter = new Splitter((text) => {
    // What is no receipt at all is told as that, once all of it is there.
    const repository = parse(path, text, ReceiptRepository);
    if (repository instanceof AppError) wrong ??= repository;
    else take(repository);
  });
  try {
    for await (const chunk of createReadStream(path)) {
      const bytes = chunk as Buffer;
      hash.update(bytes);
      splitter.push(decoder.decode(bytes, { stream: true }));
    }
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError)
      throw refusal(path, "it is not JSON", error);
    throw diskError(`read ${path}`, error);
  }
  checkKind(path, splitter.frame);
  if (wrong !== undefined) throw wrong;
  const frame = parse(path, splitter.frame, Frame);
  if (frame instanceof AppError) throw frame;
  return { registry: frame.registry, fingerprint: finishDigest(hash, "sha256") };
}

/** Splits the text of an object into the objects of its lists and all the rest. */
class Splitter {
  readonly #take: (text: string) => void;
  /** What closes each bracket that is open. */
  readonly #open: string[] = [];
  #isString = false;
  #isEscaped = false;
  #element: string | undefined;
  /** The rest; a 0 stands for each object that was taken out. */
  frame = "";

  constructor(take: (text: string) => void) {
    this.#take = take;
  }

  /** Takes the next piece. Throws RangeError for what is longer than anything that we write. */
  push(text: string): void {
    let from = 0;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (this.#isString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (code === backslash) this.#isEscaped = true;
        else if (code === quote) this.#isString = false;
      } else if (code === quote) this.#isString = true;
      else if (code === openBrace || code === openBracket) {
        if (code === openBrace && this.#open.length === 2 && this.#open[1] === "]") {
          this.#keep(`${text.slice(from, at)}0`);
          from = at;
          this.#element = "";
        }
        this.#open.push(code === openBrace ? "}" : "]");
      } else if (code === closeBrace || code === closeBracket) {
        this.#open.pop();
        if (this.#element === undefined || this.#open.length !== 2) continue;
        this.#keep(text.slice(from, at + 1));
        this.#take(this.#element);
        this.#element = undefined;
        from = at + 1;
      }
    }
    this.#keep(text.slice(from));
  }

  #keep(text: string): void {
    if (this.#element === undefined) this.frame += text;
    else this.#element += text;
    const tooLong = this.frame.length > maxFrameLength || (this.#element?.length ?? 0) > maxRepositoryLength;
    if (tooLong) throw new RangeError("it is longer than any receipt");
  }
}

/** What a text holds, or what is wrong with it. */
function parse<T extends z.ZodType>(path: string, text: string, schema: T): z.infer<T> | AppError {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
    if (issue === undefined) return refusal(path, "it is not JSON", error);
    // What is wrong with a key is told one level below.
    const state = issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    return refusal(
      path,
      [...repositoryOf(text), issue.path.join("."), state].filter(Boolean).join(": "),
      error,
    );
  }
}

/** The repository that a part of a receipt is about, to be found by. */
function repositoryOf(text: string): readonly string[] {
  const { name } = JSON.parse(text) as { readonly name?: unknown };
  if (typeof name !== "string") return [];
  return [isRepository(name) ? name : JSON.stringify(name.slice(0, 120))];
}

/** Makes sure that a document is a receipt, of a version that is known. */
function checkKind(path: string, text: string): void {
  const found = parse(
    path,
    text,
    z.looseObject({ kind: z.unknown().optional(), version: z.unknown().optional() }),
  );
  if (found instanceof AppError) throw found;
  const { kind, version } = found;
  if (kind !== "mirror-receipt") throw refusal(path, "it is JSON, and not a receipt");
  if (version === 1) return;
  const state = `it has format version ${JSON.stringify(version)}, and this program knows version 1`;
  throw new AppError("BUNDLE", `Cannot read the receipt ${path}: ${state}`, { hint: "use a newer mirror" });
}

function refusal(path: string, state: string, cause?: unknown): AppError {
  return new AppError("BUNDLE", `Cannot read the receipt ${path}: ${state}`, {
    hint: "a receipt is what mirror receipt --registry HOST wrote: write it again",
    cause,
  });
}
