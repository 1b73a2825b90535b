/** One HTTP exchange: raw bytes, bounded error bodies, and redirects that carry no credential elsewhere. */
import type { Readable } from "node:stream";
import { type Dispatcher, request } from "undici";
import { AppError } from "../errors.ts";
import type { ByteStream } from "../content/content.ts";
import { maxErrorBytes, networkError } from "./errors.ts";
import { isLocalAddress } from "./host.ts";

/** The answer to a request. The body must be read or destroyed, or its connection stays busy. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Readable;
  /** The URL that answered, after redirects. */
  readonly url: URL;
}

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST" | "PATCH" | "PUT" | "DELETE";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly authorization?: string | undefined;
  readonly body?: string | Uint8Array | Readable | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the answer must begin; one minute if left out. */
  readonly headersTimeoutMs?: number;
  /** What is being done, for messages: `read the tag 1.0 of app`. */
  readonly what: string;
}

const defaultHeadersTimeoutMs = 60_000;
const maxRedirects = 10;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const userAgent = "oci-mirror";

/** Sends one request as it is. Throws NETWORK or TLS when no answer comes. */
export async function send(dispatcher: Dispatcher, exchange: Exchange): Promise<Answer> {
  try {
    const response = await request(exchange.url, {
      dispatcher,
      method: exchange.method,
      headers: {
        "user-agent": userAgent,
        // Never let a proxy or server compress: digests are over the raw bytes.
        "accept-encoding": "identity",
        ...exchange.headers,
        ...(exchange.authorization === undefined ? {} : { authorization: exchange.authorization }),
      },
      body: exchange.body ?? null,
      signal: exchange.signal ?? null,
      headersTimeout: exchange.headersTimeoutMs ?? defaultHeadersTimeoutMs,
    });
    return { status: response.statusCode, headers: response.headers, body: response.body, url: exchange.url };
  } catch (error) {
    if (exchange.signal?.aborted === true) throw interrupted(exchange, error);
    throw networkError(exchange.what, exchange.url.host, error);
  }
}

/**
 * Sends a GET or HEAD and follows redirects. Authorization stays at the origin it was made for (port and scheme
 * included), https never leads to http, and no remote host leads to an address of this machine or network.
 */
export async function sendFollowing(dispatcher: Dispatcher, exchange: Exchange): Promise<Answer> {
  let hop = exchange;
  for (let hops = 0; ; hops += 1) {
    const answer = await send(dispatcher, hop);
    const location = singleHeader(answer, "location");
    if (!redirectStatuses.has(answer.status) || location === undefined) return answer;
    discard(answer);
    if (hops === maxRedirects) {
      throw new AppError(
        "REGISTRY",
        `Cannot ${exchange.what}: ${exchange.url.host} redirects more than ${maxRedirects} times`,
      );
    }
    const url = redirectTarget(location, hop.url, exchange.what);
    hop = { ...hop, url, authorization: url.origin === hop.url.origin ? hop.authorization : undefined };
  }
}

/** Where a Location header leads, checked by the rules of {@link sendFollowing}. */
export function redirectTarget(location: string, from: URL, what: string): URL {
  // Header bytes arrive as latin1; a Location in UTF-8 has to be read again.
  const text = Buffer.from(location, "latin1").toString("utf8");
  if (!URL.canParse(text, from.href)) {
    throw new AppError("REGISTRY", `Cannot ${what}: ${from.host} redirects to something that is no URL`);
  }
  const url = new URL(text, from);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && from.protocol === "http:")) {
    throw new AppError(
      "REGISTRY",
      `Cannot ${what}: ${from.host} redirects from ${from.protocol}// to ${url.protocol}//${url.host}`,
      {
        hint: "that would drop encryption: check the registry's proxy (X-Forwarded-Proto)",
      },
    );
  }
  if (url.username !== "" || url.password !== "") {
    throw new AppError("REGISTRY", `Cannot ${what}: ${from.host} redirects to a URL with a password in it`);
  }
  if (url.host !== from.host && isLocalAddress(url.host) && !isLocalAddress(from.host)) {
    throw new AppError("REGISTRY", `Cannot ${what}: ${from.host} redirects to the local address ${url.host}`);
  }
  return url;
}

/** Drops the rest of an answer. Small bodies would be cheaper to read, but some never end. */
export function discard(answer: Answer): void {
  answer.body.on("error", () => {
    // Destroying it is what fails it; nobody reads it any more.
  });
  answer.body.destroy();
}

/** Reads a body as text, at most `limit` bytes; the rest is dropped. Throws NETWORK if it breaks off. */
export async function readText(answer: Answer, limit = maxErrorBytes): Promise<string> {
  return (await readBytes(answer, limit, "cut")).toString("utf8");
}

/**
 * Reads a body into memory. Over `limit` bytes it is cut off, or fails with REGISTRY. Throws NETWORK if it
 * breaks off.
 */
export async function readBytes(answer: Answer, limit: number, over: "cut" | "fail"): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of bodyStream(answer, "read an answer")) {
    length += chunk.byteLength;
    if (length > limit && over === "fail") {
      throw new AppError(
        "REGISTRY",
        `Cannot read an answer of ${answer.url.host}: it is over ${limit} bytes`,
      );
    }
    chunks.push(chunk);
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
    yield* answer.body as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw networkError(what, answer.url.host, error);
  }
}

/** The value of a header that comes once; of several, the first. */
export function singleHeader(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}

function interrupted(exchange: Exchange, cause: unknown): AppError {
  const reason: unknown = exchange.signal?.reason;
  if (reason instanceof AppError) return reason;
  return new AppError("INTERRUPTED", `Cannot ${exchange.what}: interrupted`, { cause });
}
