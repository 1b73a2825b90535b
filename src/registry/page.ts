/** Pages for people that came in the place of a blob: of a proxy, a login portal, a server that is being repaired. */
import type { ByteStream } from "../content/content.ts";
import { OtherAnswer } from "../content/other-answer.ts";
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

/**
 * The content of an answer that calls itself a page and does not say that it is as long as the blob: it is looked at
 * before any of it is passed on. `decode` undoes its coding; undefined if that fails. Throws {@link OtherAnswer} for a
 * page.
 */
export async function* unlessPage(
  stream: ByteStream,
  answer: Answer,
  descriptor: Descriptor,
  decode?: (bytes: Buffer) => Buffer | undefined,
): AsyncGenerator<Uint8Array, void> {
  const { digest, size } = descriptor;
  let held: Buffer[] | undefined = [];
  let seen = 0;
  for await (const chunk of stream) {
    seen += chunk.byteLength;
    if (held === undefined) yield chunk;
    // A chunk is only lent.
    else held.push(Buffer.from(chunk));
    if (held === undefined || seen <= maxPageBytes) continue;
    if (decode !== undefined) break;
    yield* held;
    held = undefined;
  }
  if (held === undefined) {
    if (seen < size) throw otherAnswer(answer, descriptor, seen);
    return;
  }
  const bytes = Buffer.concat(held);
  const found = [bytes, decode?.(bytes)].find(
    (content) => content !== undefined && digestOf(content, algorithmOf(digest)) === digest,
  );
  if (found === undefined) throw otherAnswer(answer, descriptor, decode === undefined ? seen : undefined);
  yield found;
}

function typeOf(answer: Answer): string | undefined {
  return singleHeader(answer, "content-type");
}
