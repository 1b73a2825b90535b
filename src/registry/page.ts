/** Pages for people that came in the place of a blob: of a proxy, a login portal, a server that is being repaired. */
import type { ByteStream } from "../content/content.ts";
import { OtherAnswer } from "../content/other-answer.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, digestOf } from "../oci/digest.ts";
import { printable } from "./errors.ts";
import { type Answer, singleHeader } from "./http.ts";

/** No page for people is larger; what is, may be a blob that is called one. Bytes. */
const maxPageBytes = 1024 * 1024;

/** True for an answer that calls itself a page for people. */
export function isPage(answer: Answer): boolean {
  return /^(?:text\/html|application\/xhtml\+xml)\b/i.test(typeOf(answer) ?? "");
}

/** The error for an answer of `length` bytes that is not the blob; undefined where there is no telling how long it is. */
export function otherAnswer(answer: Answer, { digest, size }: Descriptor, length?: number): OtherAnswer {
  const page = isPage(answer);
  const type = printable(typeOf(answer) ?? "").slice(0, 60);
  // Types such as application/octet-stream say nothing.
  const named = page ? `a web page (${type})` : /^text\/|json|xml/i.test(type) ? type : "";
  const what = [named, length === undefined ? "" : `${length} bytes`].filter(Boolean).join(" of ");
  return new OtherAnswer(
    `Cannot verify ${digest}: ${answer.url.host} answered with ${what || "something else"}, and its descriptor promises ${size} bytes`,
    {
      hint: page ? "look for a proxy or a login page in front of the registry" : undefined,
      details: { digest, size },
      passing: page,
    },
  );
}

/** How an answer that may be a page is read where it has a Content-Encoding. */
export interface CodedReading {
  /** Undoes the coding of all of it; undefined if that fails. */
  readonly whole: (bytes: Buffer) => Buffer | undefined;
  /** Reads what is too large for a page. */
  readonly large: (stream: ByteStream) => ByteStream;
}

/**
 * The content of an answer that calls itself a page and does not say that it is as long as the blob: it is looked at
 * before any of it is passed on. `coded`: for one with a coding. Throws {@link OtherAnswer} for a page, and INTEGRITY
 * for what is too large for one and too short for the blob.
 */
export async function* unlessPage(
  stream: ByteStream,
  answer: Answer,
  descriptor: Descriptor,
  coded?: CodedReading,
): AsyncGenerator<Uint8Array, void> {
  const { digest } = descriptor;
  const chunks = stream[Symbol.asyncIterator]();
  const held: Buffer[] = [];
  let seen = 0;
  try {
    while (seen <= maxPageBytes) {
      const next = await chunks.next();
      if (next.done === true) {
        const bytes = Buffer.concat(held);
        const found = [bytes, coded?.whole(bytes)].find(
          (content) => content !== undefined && digestOf(content, algorithmOf(digest)) === digest,
        );
        if (found === undefined)
          throw otherAnswer(answer, descriptor, coded === undefined ? seen : undefined);
        yield found;
        return;
      }
      // A chunk is only lent.
      held.push(Buffer.from(next.value));
      seen += next.value.byteLength;
    }
    const rest = { [Symbol.asyncIterator]: () => chunks };
    const all = async function* (): AsyncGenerator<Uint8Array, void> {
      yield* held;
      yield* rest;
    };
    yield* coded === undefined ? longEnough(all(), answer, descriptor) : coded.large(all());
  } finally {
    await chunks.return?.();
  }
}

/** Complains of what is too short. Some of it has been passed on by then, so this is no {@link OtherAnswer}. */
async function* longEnough(
  stream: ByteStream,
  answer: Answer,
  descriptor: Descriptor,
): AsyncGenerator<Uint8Array, void> {
  let seen = 0;
  for await (const chunk of stream) {
    seen += chunk.byteLength;
    yield chunk;
  }
  if (seen >= descriptor.size) return;
  const { message, hint, details } = otherAnswer(answer, descriptor, seen);
  throw new AppError("INTEGRITY", message, { hint, details });
}

function typeOf(answer: Answer): string | undefined {
  return singleHeader(answer, "content-type");
}
