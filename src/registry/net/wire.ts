/**
 * A connection that moves large bodies: HTTP/1.1 over one socket, read into the same two buffers again and
 * again. undici serves every small request; its streams hand out a new buffer for each 64 KiB, which for blobs
 * costs half of the processor time and most of the memory of a transfer (figures: ARCHITECTURE.md).
 */
import type { Socket } from "node:net";
import type { ByteStream } from "../../content/content.ts";
import type { Connector } from "./connector.ts";
import { keptChunkBytes, ReadBuffers } from "./read-buffers.ts";
import { StallMeter, type Timeouts } from "./timeouts.ts";
import { Watch } from "./watch.ts";
import { coded, Framing, type Head, HeadReader } from "./wire-format.ts";

export interface WireRequest {
  readonly method: string;
  readonly url: URL;
  /** What stands in the first line, if it is not path and query: proxies want the whole URL. */
  readonly target?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** The body, of exactly as many bytes as the content-length header says. */
  readonly body?: ByteStream | undefined;
  /** Over a new connection, which serves nothing else. */
  readonly fresh: boolean;
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

/** What the owner of a connection is told. */
export interface WireEvents {
  /** The exchange has ended, and the connection can serve another one. */
  readonly onIdle: (wire: Wire) => void;
  readonly onClose: (wire: Wire) => void;
}

interface WireParts {
  readonly buffers: ReadBuffers;
  /** True if the socket reads into the buffers. */
  readonly lends: boolean;
  readonly timeouts: Timeouts;
  readonly events: WireEvents;
}

/** One connection, for one exchange at a time. */
export class Wire {
  readonly #socket: Socket;
  readonly #events: WireEvents;
  #pending: PromiseWithResolvers<Uint8Array | undefined> | undefined;
  /** What came before it was asked for: pieces of TLS, or of a server that speaks out of turn. */
  readonly #queue: Uint8Array[] = [];
  #busy = false;
  readonly #buffers: ReadBuffers;
  readonly #timeouts: Timeouts;
  #meter: StallMeter | undefined;
  #askedMs = 0;
  /** True while it is the other side's turn: only then is silence a fault. */
  #waits = false;
  #sending = false;
  #answering = false;
  #ended = false;
  #failure: Error | undefined;

  private constructor(socket: Socket, { buffers, lends, timeouts, events }: WireParts) {
    this.#socket = socket;
    this.#buffers = buffers;
    this.#timeouts = timeouts;
    this.#events = events;
    buffers.onChunk = (chunk) => this.#settle(chunk);
    if (!lends) {
      // With `onread`, TLS goes on to deliver records after it was told to stop. Its pieces have buffers of their own.
      socket.on("data", (chunk: Uint8Array) => {
        this.#settle(chunk);
        if (this.#queue.length > 0) socket.pause();
      });
    }
    socket.on("error", (error) => this.#fail(error));
    socket.on("end", () => {
      this.#ended = true;
      this.#settle(undefined);
    });
    socket.on("close", () => this.#fail(coded("UND_ERR_SOCKET", "the connection was closed")));
    socket.on("timeout", () => {
      // A slow reader or writer on our own side is no fault of the other.
      if (this.#waits && this.#pending !== undefined) this.#fail(this.#silence());
    });
    socket.setTimeout(timeouts.idleMs);
  }

  /** Connects to an origin. Throws what the connector throws. */
  static async connect(
    origin: URL,
    { connector, timeouts }: { readonly connector: Connector; readonly timeouts: Timeouts },
    events: WireEvents,
    signal?: AbortSignal,
  ): Promise<Wire> {
    const buffers = new ReadBuffers();
    const socket = await connector.open(origin, { onread: buffers.onread, signal });
    return new Wire(socket, { buffers, lends: connector.lends(origin), timeouts, events });
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
    const watch = new Watch(answered);
    let early = false;
    let left = Number(request.headers["content-length"] ?? "0");
    try {
      await this.#write(Buffer.from(headOf(request), "latin1"));
      for await (const chunk of request.body ?? []) {
        // Early answers are refusals: there is no use in sending the rest, and often nobody to read it.
        const over = await watch.during(this.#write(chunk));
        left -= chunk.byteLength;
        early = over && left > 0;
        if (over) break;
      }
      this.#waits = true;
      this.#answering = true;
      this.#socket.setTimeout(request.headersTimeoutMs);
      const { head } = await answered;
      if (early && head.status < 300) {
        throw coded("MIRROR_EARLY_ANSWER", "the answer came before all was sent");
      }
      this.#answering = false;
      this.#socket.setTimeout(this.#timeouts.idleMs);
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
      this.#meter = undefined;
      this.#buffers.release();
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
    else this.#meter = new StallMeter(this.#timeouts);
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
    if (queued !== undefined) {
      this.#meter?.count(0, queued.byteLength);
      return Promise.resolve(queued);
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.resolve(undefined);
    this.#pending = Promise.withResolvers<Uint8Array | undefined>();
    this.#askedMs = performance.now();
    // The timer goes off once only, and may have done so while it was our own side that was slow.
    this.#socket.setTimeout(this.#socket.timeout ?? this.#timeouts.idleMs);
    this.#socket.resume();
    return this.#pending.promise;
  }

  async #write(chunk: Uint8Array): Promise<undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    const written = Promise.withResolvers<undefined>();
    this.#waits = true;
    this.#sending = true;
    this.#socket.write(chunk, (error) => {
      this.#waits = false;
      this.#sending = false;
      if (error == null) written.resolve(undefined);
      else written.reject(this.#failure ?? error);
    });
    return await written.promise;
  }

  #settle(chunk: Uint8Array | undefined): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending !== undefined) {
      try {
        this.#meter?.count(performance.now() - this.#askedMs, chunk?.byteLength ?? 0);
        pending.resolve(chunk);
      } catch (error) {
        pending.reject(error);
        this.destroy(error);
      }
    } else if (chunk === undefined) return;
    else if (this.#busy) this.#queue.push(chunk);
    // Bytes that nobody asked for: an idle server has nothing to say.
    else this.destroy();
  }

  /** What the other side's silence means, by what it was to do. */
  #silence(): Error {
    if (this.#answering) return coded("UND_ERR_HEADERS_TIMEOUT", "no answer came for too long");
    return this.#sending
      ? coded("MIRROR_NOT_TAKEN", "no data was taken for too long")
      : coded("UND_ERR_BODY_TIMEOUT", "no data came for too long");
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
  const { method, url, headers, target = `${url.pathname}${url.search}` } = request;
  const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) => {
    // A token service could try to smuggle a header in.
    if (/[\r\n\0]/.test(value))
      throw coded("UND_ERR_INVALID_ARG", `the value of the header ${name} is not valid`);
    return `${name}: ${value}\r\n`;
  });
  return `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`;
}
