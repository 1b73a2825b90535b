/** The format of HTTP/1.1 answers (RFC 9112), read strictly and with caps: head, then body by its framing. */

/** Status and headers of an answer; names in lower case, repeated ones as a list. */
export interface Head {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[]>>;
}

const maxHeadBytes = 64 * 1024;
const maxChunkLine = 1024;
const empty = new Uint8Array(0);

/** Collects bytes until the head of an answer is complete. */
export class HeadReader {
  #bytes: Buffer = Buffer.alloc(0);
  /** What came after the head; valid as long as the chunk that it came with. */
  rest: Uint8Array = empty;

  /** Takes a chunk; gives the head once it is whole. Interim answers (1xx) are passed over. */
  take(chunk: Uint8Array): Head | undefined {
    const before = this.#bytes.byteLength;
    // Only as much as a head may have is copied: the rest may be half a megabyte of a body.
    const taken = chunk.subarray(0, maxHeadBytes - before);
    this.#bytes = Buffer.concat([this.#bytes, taken]);
    for (;;) {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end < 0) {
        if (this.#bytes.byteLength >= maxHeadBytes)
          throw coded("UND_ERR_HEADERS_OVERFLOW", "the head of the answer is too long");
        return undefined;
      }
      const head = parseHead(this.#bytes.toString("latin1", 0, end));
      this.#bytes = this.#bytes.subarray(end + 4);
      if (head.status >= 200) {
        this.rest = chunk.subarray(
          chunk.byteLength - (this.#bytes.byteLength + chunk.byteLength - taken.byteLength),
        );
        return head;
      }
    }
  }
}

/** How the body of an answer is delimited, and the bytes of it out of what comes over the connection. */
export class Framing {
  /** True if the connection can serve another request after this answer. */
  keepsAlive: boolean;
  /** True once the body has ended. */
  done = false;
  /** Bytes left of the body, or of the current chunk; undefined: until the connection ends. */
  #left: number | undefined;
  readonly #chunked: boolean;
  /** True if every read of the connection gives one piece; otherwise who lends buffers has to copy. */
  readonly onePiecePerRead: boolean;
  #state: "size" | "data" | "gap" | "trailer" = "size";
  #line = "";

  constructor(method: string, { status, headers }: Head) {
    const encoding = single(headers["transfer-encoding"])?.toLowerCase();
    const length = single(headers["content-length"]);
    if (encoding !== undefined && length !== undefined) {
      throw coded(
        "UND_ERR_RES_CONTENT_LENGTH_MISMATCH",
        "the answer has both a length and a transfer encoding",
      );
    }
    if (encoding !== undefined && encoding !== "chunked")
      throw coded("UND_ERR_HTTP_PARSER", "the answer has an unknown transfer encoding");
    if (length !== undefined && !/^\d{1,15}$/.test(length))
      throw coded("UND_ERR_HTTP_PARSER", "the answer has no valid length");
    this.#chunked = encoding === "chunked";
    this.onePiecePerRead = !this.#chunked;
    this.#left = length === undefined ? undefined : Number(length);
    const bodiless = method === "HEAD" || status === 204 || status === 304 || this.#left === 0;
    this.done = bodiless && (!this.#chunked || method === "HEAD" || status === 204 || status === 304);
    this.keepsAlive =
      single(headers["connection"])?.toLowerCase() !== "close" &&
      (this.done || this.#chunked || this.#left !== undefined);
  }

  /** The connection has ended: a body without a length is whole then, any other one is not. */
  end(): void {
    if (this.#chunked || this.#left !== undefined)
      throw coded("UND_ERR_SOCKET", "the connection ended in the middle of the body");
    this.done = true;
  }

  /** The bytes of the body in a chunk of the connection, as parts of that chunk. */
  *take(chunk: Uint8Array): Generator<Uint8Array, void> {
    if (chunk.byteLength === 0) return;
    if (!this.#chunked) {
      if (this.#left === undefined) {
        yield chunk;
        return;
      }
      const piece = chunk.subarray(0, this.#left);
      this.#left -= piece.byteLength;
      this.done = this.#left === 0;
      // More than was promised: what follows would be taken for the next answer.
      if (piece.byteLength < chunk.byteLength) this.keepsAlive = false;
      yield piece;
      return;
    }
    let at = 0;
    while (at < chunk.byteLength && !this.done) {
      if (this.#state === "data") {
        const piece = chunk.subarray(at, at + (this.#left ?? 0));
        at += piece.byteLength;
        this.#left = (this.#left ?? 0) - piece.byteLength;
        if (this.#left === 0) this.#state = "gap";
        yield piece;
      } else {
        this.#take(chunk[at] ?? 0);
        at += 1;
      }
    }
    if (at < chunk.byteLength) this.keepsAlive = false;
  }

  /** One byte of the chunked coding that is not data: sizes, line ends, trailers. */
  #take(byte: number): void {
    if (byte !== 0x0a) {
      this.#line += String.fromCharCode(byte);
      if (this.#line.length > maxChunkLine)
        throw coded("UND_ERR_HTTP_PARSER", "a chunk of the answer is not valid");
      return;
    }
    const line = this.#line.replace(/\r$/, "");
    this.#line = "";
    if (this.#state === "gap") {
      if (line !== "") throw coded("UND_ERR_HTTP_PARSER", "a chunk of the answer is longer than it says");
      this.#state = "size";
    } else if (this.#state === "trailer") {
      this.done = line === "";
    } else {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined) throw coded("UND_ERR_HTTP_PARSER", "a chunk of the answer has no valid size");
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    }
  }
}

function parseHead(text: string): Head {
  const [first = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  if (status === undefined) throw coded("UND_ERR_HTTP_PARSER", "the answer is not HTTP");
  const headers: Record<string, string | string[]> = {};
  for (const line of lines) {
    // The blanks around the value are cut off afterwards: a pattern that does it takes seconds for a hostile line.
    const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(.*)$/.exec(line);
    const [name, value] = [field?.[1], field?.[2]?.trim()];
    if (name === undefined || value === undefined)
      throw coded("UND_ERR_HTTP_PARSER", "a header of the answer is not valid");
    const key = name.toLowerCase();
    const known = headers[key];
    headers[key] = known === undefined ? value : [...(typeof known === "string" ? [known] : known), value];
  }
  const closes = first.startsWith("HTTP/1.0") && headers["connection"] === undefined;
  return { status: Number(status), headers: closes ? { ...headers, connection: "close" } : headers };
}

/** A header that may come only once; repeated with one value is the same. */
function single(value: string | string[] | undefined): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  const [first] = value;
  if (value.some((other) => other !== first))
    throw coded("UND_ERR_HTTP_PARSER", "the answer contradicts itself");
  return first;
}

/** An error with undici's code for the same failure, so that both kinds of connection are explained alike. */
export function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
