/** The plainest client there is, for the tests of the registry itself: one request, its whole answer. */
import { Readable } from "node:stream";
import { type Dispatcher, request } from "undici";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** The codes of a JSON error body. */
  readonly codes: readonly string[];
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | AsyncIterable<Buffer>;
  readonly dispatcher?: Dispatcher;
}

/** Sends one request and reads the answer. Fails if the connection breaks before its end. */
export async function call(
  method: Dispatcher.HttpMethod,
  url: string,
  options: CallOptions = {},
): Promise<Answer> {
  const { headers = {}, body, dispatcher } = options;
  const response = await request(url, {
    method,
    headers,
    body: typeof body === "object" && !Buffer.isBuffer(body) ? Readable.from(body) : (body ?? null),
    ...(dispatcher === undefined ? {} : { dispatcher }),
  });
  const bytes = Buffer.from(await response.body.arrayBuffer());
  return { status: response.statusCode, headers: response.headers, body: bytes, codes: codesOf(bytes) };
}

/** Opens an upload and gives its URL. */
export async function startUpload(url: string, repository: string, headers = {}): Promise<string> {
  const answer = await call("POST", `${url}/v2/${repository}/blobs/uploads/`, { headers });
  if (answer.status !== 202) throw new Error(`POST was answered with ${answer.status}`);
  return locationOf(answer);
}

export function locationOf(answer: Answer): string {
  const { location } = answer.headers;
  if (typeof location !== "string") throw new Error("the answer has no Location");
  return location;
}

/** The URL of the closing PUT of an upload. */
export function closing(location: string, digest: string): string {
  return `${location}&digest=${encodeURIComponent(digest)}`;
}

function codesOf(bytes: Buffer): readonly string[] {
  try {
    const { errors } = JSON.parse(bytes.toString()) as { errors?: readonly { code: string }[] };
    return (errors ?? []).map(({ code }) => code);
  } catch {
    return [];
  }
}
