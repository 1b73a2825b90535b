/**
 * A connection that moves large bodies: HTTP/1.1 over one socket, read into the same two buffers again and
 * again. undici serves every small request; its streams hand out a new buffer for each 64 KiB, which for blobs
 * costs half of the processor time and most of the memory of a transfer (figures: ARCHITECTURE.md).
 */
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";
import type { ByteStream } from "../../content/content.ts";
import { coded, Framing, type Head, HeadReader } from "./wire-format.ts";

export interface WireTrust {
  readonly secureContext: () => SecureContext;
  readonly rejectUnauthorized: boolean;
}

export interface WireRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** The body, of exactly as many bytes as the content-length header says. */
  readonly body?: ByteStream | undefined;
  /** Milliseconds until the answer must begin once the request is sent. */
  readonly headersTimeoutMs: number;
}

export interface WireAnswer extends Head {
  readonly body: WireBody;
}

/** The body of an answer; its chunks are lent as those of every ByteStream. */
export interface WireBody extends AsyncIterable<Uint8Array> {
  /** Gives up the rest of the body, and the connection if there is a rest. */
  destroy(): void;
}

/** One read takes up to this many bytes: few reads on a fast link, and little memory for eight streams. */
const readBytes = 1024 * 1024;
/** Chunks under this size are handed out as copies, which cost less than a buffer that is not used again. Bytes. */
const keptChunkBytes = 64 * 1024;
const connectTimeoutMs = 15_000;
const idleTimeoutMs = 90_000;

/** What the owner of a connection is told. */
export interface WireEvents {
  /** The exchange has ended, and the connection can serve another one. */
  readonly onIdle: (wire: Wire) => void;
  readonly onClose: (wire: Wire) => void;
}

/** One connection, for one exchange at a time. */
export class Wire {
  readonly #socket: Socket;
  readonly #events: WireEvents;
  #pending: PromiseWithResolvers<Uint8Array | undefined> | undefined;
  /** What came before it was asked for: pieces of TLS, or of a server that speaks out of turn. */
  readonly #queue: Uint8Array[] = [];
  #busy = false;
  /** The buffer of the chunk before the current one. */
  #spare: Buffer | undefined;
  #lastBytes = 0;
  /** True while it is the other side's turn: only then is silence a fault. */
  #waits = false;
  #ended = false;
  #failure: Error | undefined;

  private constructor(origin: URL, trust: WireTrust, events: WireEvents) {
    this.#events = events;
    const host = origin.hostname.replace(/^\[|\]$/g, "");
    const secure = origin.protocol === "https:";
    const address = { host, port: Number(origin.port || (secure ? 443 : 80)) };
    if (secure) {
      this.#socket = connectTls({
        ...address,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ALPNProtocols: ["http/1.1"],
        secureContext: trust.secureContext(),
        rejectUnauthorized: trust.rejectUnauthorized,
      });
      // With `onread`, TLS goes on to deliver records after it was told to stop. Its pieces have buffers of their own.
      this.#socket.on("data", (chunk: Uint8Array) => {
        this.#settle(chunk);
        if (this.#queue.length > 0) this.#socket.pause();
      });
    } else {
      this.#socket = connectTcp({ ...address, onread: this.#reading() });
    }
    this.#socket.setNoDelay(true);
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("end", () => {
      this.#ended = true;
      this.#settle(undefined);
    });
    this.#socket.on("close", () => this.#fail(coded("UND_ERR_SOCKET", "the connection was closed")));
    this.#socket.on("timeout", () => {
      // A slow reader or writer on our own side is no fault of the other.
      if (this.#waits && this.#pending !== undefined)
        this.#fail(coded("UND_ERR_BODY_TIMEOUT", "no data came for too long"));
    });
  }

  /** Connects to an origin. Throws what the socket throws. */
  static async connect(
    origin: URL,
    trust: WireTrust,
    events: WireEvents,
    signal?: AbortSignal,
  ): Promise<Wire> {
    const wire = new Wire(origin, trust, events);
    const ready = Promise.withResolvers<void>();
    const abort = (): void => wire.destroy(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const late = (): void => wire.#fail(coded("UND_ERR_CONNECT_TIMEOUT", "the connection timed out"));
    const timer = setTimeout(late, connectTimeoutMs);
    wire.#socket.once(origin.protocol === "https:" ? "secureConnect" : "connect", () => ready.resolve());
    wire.#socket.once("close", () =>
      ready.reject(wire.#failure ?? coded("UND_ERR_SOCKET", "the connection was closed")),
    );
    try {
      await ready.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
    wire.#socket.setTimeout(idleTimeoutMs);
    return wire;
  }

  /** False once the connection has ended or failed. */
  get usable(): boolean {
    return this.#failure === undefined && !this.#ended;
  }

  /** Sends a request and its body, and resolves when the answer begins, which may be before all is sent. */
  async exchange(request: WireRequest): Promise<WireAnswer> {
    this.#busy = true;
    const reader = new HeadReader();
    const answered = this.#readHead(reader).then((head) => ({ head }));
    answered.catch(() => undefined);
    let early = false;
    let left = Number(request.headers["content-length"] ?? "0");
    try {
      await this.#write(Buffer.from(headOf(request), "latin1"));
      for await (const chunk of request.body ?? []) {
        // Early answers are refusals: there is no use in sending the rest, and often nobody to read it.
        const answer = await Promise.race([this.#write(chunk), answered]);
        left -= chunk.byteLength;
        early = answer !== undefined && left > 0;
        if (answer !== undefined) break;
      }
      this.#waits = true;
      this.#socket.setTimeout(request.headersTimeoutMs);
      const { head } = await answered;
      if (early && head.status < 300) {
        throw coded("MIRROR_EARLY_ANSWER", "the answer came before all was sent");
      }
      this.#socket.setTimeout(idleTimeoutMs);
      return { ...head, body: this.#body(request.method, head, reader.rest, !early) };
    } catch (error) {
      this.destroy(error);
      throw error;
    }
  }

  /** Ends the connection. Whoever waits for it fails with `reason`. */
  destroy(reason?: unknown): void {
    this.#fail(reason instanceof Error ? reason : coded("UND_ERR_SOCKET", "the connection was closed"));
  }

  #body(method: string, head: Head, rest: Uint8Array, reusable: boolean): WireBody {
    const framing = new Framing(method, head);
    let over = false;
    const finish = (): void => {
      if (over) return;
      over = true;
      this.#waits = false;
      this.#busy = false;
      // The last chunk may still be on its way to a disk, and the next exchange is somebody else's.
      if (this.#lastBytes >= keptChunkBytes) this.#spare = undefined;
      if (this.#queue.length === 0 && framing.done && framing.keepsAlive && reusable && this.usable) {
        this.#events.onIdle(this);
        // Reading goes on, so that an idle connection notices when the server closes it.
        this.#socket.resume();
      } else {
        this.destroy();
      }
    };
    const read = async (): Promise<Uint8Array | undefined> => await this.#read();
    const lend = (piece: Uint8Array): Uint8Array =>
      framing.onePiecePerRead && piece.byteLength >= keptChunkBytes ? piece : Buffer.from(piece);
    // More than was promised: what follows would be taken for the next answer.
    if (framing.done && rest.byteLength > 0) framing.keepsAlive = false;
    if (framing.done) finish();
    return {
      async *[Symbol.asyncIterator]() {
        try {
          for (
            let chunk: Uint8Array | undefined = rest;
            !framing.done;
            chunk = framing.done ? undefined : await read()
          ) {
            if (chunk === undefined) framing.end();
            else for (const piece of framing.take(chunk)) yield lend(piece);
          }
        } finally {
          finish();
        }
      },
      destroy: finish,
    };
  }

  async #readHead(reader: HeadReader): Promise<Head> {
    for (;;) {
      const chunk = await this.#read();
      if (chunk === undefined) throw coded("UND_ERR_SOCKET", "the connection ended before an answer");
      const head = reader.take(chunk);
      if (head !== undefined) return head;
    }
  }

  /** The next bytes, valid until the next call; undefined at the end of the connection. */
  #read(): Promise<Uint8Array | undefined> {
    const queued = this.#queue.shift();
    if (queued !== undefined) return Promise.resolve(queued);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.resolve(undefined);
    this.#pending = Promise.withResolvers<Uint8Array | undefined>();
    // The timer goes off once only, and may have done so while it was our own side that was slow.
    this.#socket.setTimeout(this.#socket.timeout ?? idleTimeoutMs);
    this.#socket.resume();
    return this.#pending.promise;
  }

  async #write(chunk: Uint8Array): Promise<undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    const written = Promise.withResolvers<undefined>();
    this.#waits = true;
    this.#socket.write(chunk, (error) => {
      this.#waits = false;
      if (error == null) written.resolve(undefined);
      else written.reject(this.#failure ?? error);
    });
    return await written.promise;
  }

  /** Two buffers in turn for all reads: a chunk stays valid while the next one comes, as ByteStream promises. */
  #reading(): { buffer: () => Buffer; callback: (length: number, buffer: Uint8Array) => boolean } {
    let current: Buffer | undefined;
    return {
      buffer: () => {
        const next = this.#spare ?? Buffer.allocUnsafeSlow(readBytes);
        this.#spare = current;
        current = next;
        return next;
      },
      callback: (length, buffer) => {
        this.#lastBytes = length;
        this.#settle(buffer.subarray(0, length));
        // Reading goes on when the next chunk is asked for.
        return false;
      },
    };
  }

  #settle(chunk: Uint8Array | undefined): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending !== undefined) pending.resolve(chunk);
    else if (chunk === undefined) return;
    else if (this.#busy) this.#queue.push(chunk);
    // Bytes that nobody asked for: an idle server has nothing to say.
    else this.destroy();
  }

  #fail(error: Error): void {
    const first = this.#failure === undefined;
    this.#failure ??= error;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(this.#failure);
    this.#socket.destroy();
    if (first) this.#events.onClose(this);
  }
}

function headOf(request: WireRequest): string {
  const { method, url, headers } = request;
  const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) => {
    // A token service could try to smuggle a header in.
    if (/[\r\n\0]/.test(value))
      throw coded("UND_ERR_INVALID_ARG", `the value of the header ${name} is not valid`);
    return `${name}: ${value}\r\n`;
  });
  return `${method} ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join("")}\r\n`;
}
