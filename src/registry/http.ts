/** One HTTP exchange: raw bytes, bounded error bodies, and redirects that carry no credential elsewhere. */
import type { Dispatcher } from "undici";
import type { ByteStream } from "../content/content.ts";
import { AppError } from "../errors.ts";
import { type FailedAnswer, maxErrorBytes } from "./errors.ts";
import { redirectTarget } from "./leads.ts";
import type { AddressGuard } from "./net/guard.ts";
import type { HttpProxy } from "./net/proxy.ts";
import { metered, type Timeouts } from "./net/timeouts.ts";
import type { Wires } from "./net/wires.ts";
import { networkError } from "./network-errors.ts";
import { parseRateLimit } from "./rate-limit.ts";

/** The answer to a request. The body must be read or given up, or its connection stays busy. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AnswerBody;
  /** The URL that answered, after redirects. */
  readonly url: URL;
}

/** The bytes of an answer; chunks are lent as those of every ByteStream. */
export interface AnswerBody extends AsyncIterable<Uint8Array> {
  destroy(): unknown;
}

/** Content to send, of exactly `length` bytes. It can be sent once. */
export interface ContentBody {
  readonly content: ByteStream;
  readonly length: number;
}

/** Sends one request as it is. Throws NETWORK or TLS when no answer comes. */
export type Transport = (exchange: Exchange) => Promise<Answer>;

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST" | "PATCH" | "PUT" | "DELETE";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly authorization?: string | undefined;
  readonly body?: string | Uint8Array | ContentBody | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Over a connection of its own, for content. */
  readonly fresh?: boolean;
  /** Milliseconds beyond those of {@link Timeouts} until the answer must begin. */
  readonly extraMs?: number;
  /** What is being done, for messages: `read the tag 1.0 of app`. */
  readonly what: string;
}

/** What the buffers of a connection take in whole. */
const smallBodyBytes = 64 * 1024;
const maxRedirects = 10;
const maxDrainBytes = 16 * 1024;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const userAgent = "oci-mirror";
const requestIdHeaders = ["x-request-id", "x-amzn-requestid", "x-github-request-id", "docker-upload-uuid"];

/** How a transport gets its requests out. */
interface Means {
  readonly timeouts: Timeouts;
  /** The proxy that gets requests to this URL in absolute form. */
  readonly forwardProxy: (url: URL) => HttpProxy | undefined;
}

/** The body of an answer that has none. */
const nothing: AnswerBody = {
  [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }),
  destroy: () => undefined,
};

/** Small requests and answers, through undici. */
export function requestTransport(means: Means & { readonly dispatcher: Dispatcher }): Transport {
  const { dispatcher, timeouts } = means;
  return async (exchange) => {
    if (isContent(exchange.body)) throw new AppError("INTERNAL", "content goes over a wire");
    const { url } = exchange;
    const forward = means.forwardProxy(url);
    const path = `${url.pathname}${url.search}`;
    try {
      const pending = dispatcher.request({
        origin: url.origin,
        path: forward === undefined ? path : `${url.origin}${path}`,
        method: exchange.method,
        headers: headersOf(exchange, forward),
        body: exchange.body ?? null,
        signal: exchange.signal ?? null,
        // undici closes the connection after every HEAD otherwise, and HEAD is what we ask most.
        // But a large body that was refused early may still fill the connection, for the next request to wait behind.
        reset: Buffer.byteLength(exchange.body ?? "") > smallBodyBytes,
        headersTimeout: timeouts.headersMs + (exchange.extraMs ?? 0),
      });
      const { statusCode, headers, body } = await orAborted(pending, exchange.signal);
      // A body that nobody reads is destroyed, and there is nobody to tell.
      body.on("error", () => undefined);
      if (exchange.method === "HEAD" || statusCode === 204 || headers["content-length"] === "0") {
        // Most answers have no body; its streams would cost more than all the rest of a small request.
        body.resume();
        return { status: statusCode, headers, body: nothing, url };
      }
      return {
        status: statusCode,
        headers,
        body: { [Symbol.asyncIterator]: () => metered(body, timeouts), destroy: () => body.destroy() },
        url,
      };
    } catch (error) {
      throw failure(exchange, error);
    }
  };
}

/** Blobs in either direction, over connections of our own that use their buffers again (wire.ts says why). */
export function blobTransport(means: Means & { readonly wires: Wires }): Transport {
  return async (exchange) => {
    const { url, method, body, fresh = false, extraMs = 0 } = exchange;
    const headersTimeoutMs = means.timeouts.headersMs + extraMs;
    const forward = means.forwardProxy(url);
    const target = forward === undefined ? undefined : `${url.origin}${url.pathname}${url.search}`;
    const sent = isContent(body) ? body : undefined;
    const length: Record<string, string> = sent === undefined ? {} : { "content-length": `${sent.length}` };
    try {
      const headers = { ...headersOf(exchange, forward), ...length };
      const pending = means.wires.send(
        { method, url, target, headers, body: sent?.content, fresh, headersTimeoutMs },
        exchange.signal,
      );
      const answer = await orAborted(pending, exchange.signal);
      return { ...answer, url };
    } catch (error) {
      throw failure(exchange, error);
    }
  };
}

/** For what does not look at the signal, such as a connection that is being made. Rejects with the signal's reason. */
export async function orAborted<T>(pending: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await pending;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([pending, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function headersOf(exchange: Exchange, forward: HttpProxy | undefined): Record<string, string> {
  return {
    "user-agent": userAgent,
    // Never let a proxy or server compress: digests are over the raw bytes.
    "accept-encoding": "identity",
    ...exchange.headers,
    ...(exchange.authorization === undefined ? {} : { authorization: exchange.authorization }),
    ...(forward?.authorization === undefined ? {} : { "proxy-authorization": forward.authorization }),
  };
}

/** True for a body that can be sent only once. */
export function isContent(body: Exchange["body"]): body is ContentBody {
  return typeof body === "object" && "content" in body;
}

/**
 * Sends a GET or HEAD and follows redirects. Authorization stays at the origin it was made for (port and scheme
 * included), https never leads to http, and the guard says which addresses may be led to. Throws REGISTRY for a
 * redirect that is not followed.
 */
export async function sendFollowing(
  transport: Transport,
  exchange: Exchange,
  guard: AddressGuard,
): Promise<Answer> {
  const fail = (from: URL, state: string): never => {
    throw new AppError("REGISTRY", `Cannot ${exchange.what}: ${from.host} redirects ${state}`);
  };
  const seen = new Set([exchange.url.href]);
  let hop = exchange;
  for (;;) {
    const answer = await transport(hop);
    if (!redirectStatuses.has(answer.status)) return answer;
    discard(answer);
    const location = singleHeader(answer, "location");
    if (location === undefined) return fail(hop.url, `to nowhere (${answer.status} without a Location)`);
    const url = redirectTarget(location, hop.url, exchange.what, guard);
    if (seen.has(url.href)) fail(exchange.url, "in a circle");
    if (seen.size > maxRedirects) fail(exchange.url, `more than ${maxRedirects} times`);
    seen.add(url.href);
    hop = { ...hop, url, authorization: url.origin === hop.url.origin ? hop.authorization : undefined };
  }
}

/** Gives up the rest of an answer, and with it the connection, if there is a rest. */
export function discard(answer: Answer): void {
  answer.body.destroy();
}

/** Reads a small body away, so that its connection can serve the next request; gives up a large one. */
export async function drain(answer: Answer): Promise<void> {
  // Not by its length: an answer to HEAD carries that of a body which does not come.
  await readText(answer, maxDrainBytes).catch(() => undefined);
}

/** Reads a body as text, at most `limit` bytes; the rest is dropped. Throws NETWORK if it breaks off. */
export async function readText(answer: Answer, limit = maxErrorBytes): Promise<string> {
  return (await readBytes(answer, limit, "cut")).toString("utf8");
}

/**
 * Reads a body into memory. Over `limit` bytes it is cut off, or fails with REGISTRY. Throws NETWORK if it
 * breaks off.
 */
export async function readBytes(
  answer: Answer,
  limit: number,
  over: "cut" | "fail",
  what = "read an answer",
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of bodyStream(answer, what)) {
    length += chunk.byteLength;
    if (length > limit && over === "fail") {
      throw new AppError(
        "REGISTRY",
        `Cannot ${what}: the answer of ${answer.url.host} is over ${limit} bytes`,
      );
    }
    // A chunk is only lent.
    chunks.push(Buffer.from(chunk));
    if (length > limit) break;
  }
  return Buffer.concat(chunks, Math.min(length, limit));
}

/** The body as a byte stream whose failures are NETWORK errors with the host's name. */
export async function* bodyStream(
  answer: Answer,
  what: string,
): ByteStream & AsyncGenerator<Uint8Array, void> {
  try {
    yield* answer.body;
  } catch (error) {
    throw networkError(what, answer.url.host, error);
  }
}

/** What an error tells of an answer, with what its body said. */
export function failedAnswer(method: string, answer: Answer, body: string): FailedAnswer {
  const { url, status } = answer;
  const requestId = requestIdHeaders.map((name) => singleHeader(answer, name)).find(Boolean);
  return {
    method,
    url,
    status,
    body,
    requestId,
    retryAfter: singleHeader(answer, "retry-after"),
    rateLimit: parseRateLimit(answer.headers),
    upload: { location: singleHeader(answer, "location"), range: singleHeader(answer, "range") },
  };
}

/** The value of a header that comes once; of several, the first. */
export function singleHeader(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}

function failure(exchange: Exchange, cause: unknown): AppError {
  const reason: unknown = exchange.signal?.reason;
  if (exchange.signal?.aborted !== true) return networkError(exchange.what, exchange.url.host, cause);
  if (reason instanceof AppError) return reason;
  return new AppError("INTERRUPTED", `Cannot ${exchange.what}: interrupted`, { cause });
}
