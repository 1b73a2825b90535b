/** The HTTP floor of the test registry: what a request and a reply are, and how a reply reaches the socket. */
import { once } from "node:events";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { Socket } from "node:net";

/** Which of the registry's servers a request came to; each is an origin of its own (another port). */
export type Origin = "registry" | "token" | "storage";

/** A request on its way to its handler. Faults may change `path`, `query`, `headers` and `body` before it gets there. */
export interface RegistryRequest {
  readonly origin: Origin;
  readonly method: string;
  /** Decoded path without the query. */
  path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The bytes as they arrive. Reading them is up to the handler; throws when the client goes away. */
  body: AsyncIterable<Uint8Array>;
  /** `http(s)://authority` as the client wrote it, which is what distribution makes absolute URLs of. */
  readonly base: string;
  /** True once the client has gone away before the end of its request. */
  readonly aborted: () => boolean;
}

export type ReplyHeaders = Readonly<Record<string, string | readonly string[]>>;

/** An answer as data, so that faults can change any part of it before it is sent. */
export interface Reply {
  readonly status: number;
  /** Names in lower case. A content-length that is left out is that of the body. */
  readonly headers?: ReplyHeaders;
  readonly body?: readonly Uint8Array[];
  /** Cuts the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Never answers: the request stays open until one side closes. */
  readonly held?: boolean;
  /** Writes to the bare socket instead of everything above: for answers that are not proper HTTP. */
  readonly raw?: (socket: Socket) => void;
}

/** Thrown by whoever wants the connection cut now, without an answer. */
export class ConnectionCut extends Error {
  override readonly name = "ConnectionCut";
}

export interface TlsOptions {
  /** PEM */
  readonly key: string;
  /** PEM */
  readonly cert: string;
  /** PEM of the CA of client certificates; if it is given, every client must show one. */
  readonly clientCa?: string;
}

export interface ListenOptions {
  readonly address: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls?: TlsOptions | undefined;
}

/** A listening server. */
export interface Listener {
  readonly port: number;
  /** `http(s)://address:port` */
  readonly url: string;
  /** Resolves once no client has a connection open. */
  deserted(): Promise<void>;
  /** Ends the server and every socket it has. */
  close(): Promise<void>;
}

/** Starts a server that passes every request to `serve`. */
export async function listen(
  options: ListenOptions,
  serve: (incoming: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Listener> {
  const { tls } = options;
  const server: Server =
    tls === undefined
      ? createServer()
      : createSecureServer({
          key: tls.key,
          cert: tls.cert,
          ...(tls.clientCa === undefined
            ? {}
            : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
        });
  // An idle socket closed under a client that is just reusing it would look like a fault nobody asked for.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      if (sockets.size === 0) server.emit("deserted");
    });
  });
  server.on("request", (incoming, response) => {
    const { socket } = incoming;
    // `serve` answers its own failures; what is left over means that the client has gone, or is to be cut off.
    serve(incoming, response).catch(() => socket.destroy());
  });
  server.listen(options.port, options.address);
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the server has no port");
  const host = options.address.includes(":") ? `[${options.address}]` : options.address;
  return {
    port: bound.port,
    url: `${tls === undefined ? "http" : "https"}://${host}:${bound.port}`,
    deserted: async () => {
      if (sockets.size > 0) await once(server, "deserted");
    },
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Reads an incoming message as a request; `onBytes` is called with the length of every piece of its body. */
export function toRequest(
  incoming: IncomingMessage,
  origin: Origin,
  secure: boolean,
  onBytes: (count: number) => void,
): RegistryRequest {
  const scheme = first(incoming.headers["x-forwarded-proto"]) ?? (secure ? "https" : "http");
  const base = `${scheme}://${incoming.headers.host ?? "localhost"}`;
  // Not new URL(): it would fold `..` and `//`, and a client that sends those should see what a registry does.
  const [path = "/", ...search] = (incoming.url ?? "/").split("?");
  return {
    origin,
    method: incoming.method ?? "GET",
    path: decoded(path),
    query: new URLSearchParams(search.join("?")),
    headers: { ...incoming.headers },
    body: counted(incoming, onBytes),
    base,
    aborted: () => incoming.destroyed && !incoming.complete,
  };
}

async function* counted(
  incoming: IncomingMessage,
  onBytes: (count: number) => void,
): AsyncGenerator<Uint8Array> {
  // Whoever stops reading may still want to answer, so that must not end the connection.
  for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
    onBytes((chunk as Buffer).byteLength);
    yield chunk as Buffer;
  }
}

/** All bytes of a request's body, or undefined if they are more than `limit`. */
export async function readBody(request: RegistryRequest, limit = Infinity): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** One header of a request, the first of several. */
export function header(request: RegistryRequest, name: string): string | undefined {
  return first(request.headers[name]);
}

/** One header of a reply, the first of several. */
export function replyHeader(reply: Reply, name: string): string | undefined {
  const value = reply.headers?.[name];
  return typeof value === "object" ? value[0] : value;
}

/** The length of a body in bytes. */
export function lengthOf(body: readonly Uint8Array[] | undefined): number {
  return (body ?? []).reduce((sum, chunk) => sum + chunk.byteLength, 0);
}

/** Sends a reply; `onBytes` is called with the length of every piece of the body that has left. */
export async function send(
  response: ServerResponse,
  reply: Reply,
  onBytes: (count: number) => void,
): Promise<void> {
  const { socket } = response;
  if (socket === null) return;
  if (reply.held === true) return;
  if (reply.raw !== undefined) return reply.raw(socket);

  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(reply.headers ?? {})) {
    headers[name] = typeof value === "string" ? value : [...value];
  }
  const hasBody = reply.status !== 204 && reply.status !== 304;
  if (hasBody && headers["transfer-encoding"] === undefined)
    headers["content-length"] ??= String(lengthOf(reply.body));
  response.writeHead(reply.status, headers);

  let left = reply.cutAfter ?? Infinity;
  if (response.req.method !== "HEAD" && hasBody) {
    for (const chunk of reply.body ?? []) {
      if (left <= 0 || response.destroyed) break;
      const piece = chunk.byteLength > left ? chunk.subarray(0, left) : chunk;
      left -= piece.byteLength;
      await write(response, piece);
      onBytes(piece.byteLength);
    }
  }
  if (reply.cutAfter === undefined) {
    response.end();
    return;
  }
  response.flushHeaders();
  // Ends after what has been written, so that the client gets every byte before the cut.
  socket.destroySoon();
}

/** Waits until the piece has left the process: that is back pressure and the byte count in one. */
function write(response: ServerResponse, piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error("the client has gone"));
    response.once("close", gone);
    response.write(piece, (error) => {
      response.off("close", gone);
      if (error) reject(error);
      else resolve();
    });
  });
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function first(value: string | string[] | undefined): string | undefined {
  return typeof value === "object" ? value[0] : value;
}
