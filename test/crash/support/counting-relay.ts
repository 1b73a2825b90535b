/**
 * The line between the program and a registry: an HTTP relay that knows which bytes belong to which blob, counts
 * what has gone over it, and can be slow, stand still, or break. The registry behind it is a real one; its own access
 * log counts what it has handed to the kernel, some megabytes a connection more than anybody has got.
 */
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, type ServerResponse, request as send } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { Line } from "./line.ts";

/** One request and its answer, as far as they have come. */
export interface Exchange {
  /** Which connection of the program it went over. */
  readonly connection: number;
  readonly method: string;
  /** Path with the query. */
  readonly target: string;
  /** 0 until the answer has begun. */
  readonly status: number;
  /** Bytes of the body from the program to the registry. */
  readonly sent: number;
  /** Bytes of the body from the registry to the program. */
  readonly given: number;
  /** True once both bodies are through, or the connection has gone. */
  readonly over: boolean;
}

/** A running relay. */
export interface CountingRelay extends AsyncDisposable {
  /** `127.0.0.1:34567` */
  readonly host: string;
  readonly port: number;
  /** Everything since the start, or since {@link CountingRelay.forget}. */
  readonly exchanges: readonly Exchange[];
  /** Where pace, breaks and the moment of a kill are set. */
  readonly line: Line;
  /** Bodies to the program since the start, and from it. Bytes. */
  readonly given: number;
  readonly sent: number;
  /** Bytes that went to the program, or came from it, for one blob. */
  readonly givenOf: (digest: string) => number;
  readonly sentOf: (digest: string) => number;
  /** How many connections there are at this moment that have brought blobs to the program. */
  readonly blobConnections: number;
  /** Forgets the exchanges and begins to count anew. */
  readonly forget: () => void;
  /** Breaks every connection of the program. */
  readonly drop: () => void;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** The headers that are about one connection only. */
const hopByHop = new Set(["connection", "keep-alive", "transfer-encoding"]);

/** Starts a relay to a port of 127.0.0.1. `rate`: bytes of bodies a second, for all connections and both ways together. */
export async function startCountingRelay(options: {
  readonly port: number;
  readonly rate?: number;
}): Promise<CountingRelay> {
  const line = new Line(options.rate);
  const agent = new Agent({ keepAlive: true });
  const sockets = new Map<Socket, number>();
  /** Which blob an upload session has turned out to be for. */
  const sessions = new Map<string, string>();
  let exchanges: Mutable<Exchange>[] = [];
  let connections = 0;

  const relay = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = "GET", url: target = "/" } = request;
    const connection = sockets.get(request.socket) ?? 0;
    const exchange = { connection, method, target, status: 0, sent: 0, given: 0, over: false };
    exchanges.push(exchange);
    noteSession(sessions, target);
    response.once("close", () => {
      exchange.over = true;
    });
    await line.passes();
    const upstream = send({
      port: options.port,
      host: "127.0.0.1",
      agent,
      method,
      path: target,
      headers: headersOf(request).flat(),
    });
    // Nobody waits for the answer any more.
    response.once("close", () => void (response.writableFinished || upstream.destroy()));
    const asked = pipeline(
      request,
      (body) => line.carry(body, (bytes) => count(exchange, "sent", bytes)),
      upstream,
    );
    asked.catch(() => undefined);
    const [answer] = (await once(upstream, "response")) as [IncomingMessage];
    exchange.status = answer.statusCode ?? 0;
    noteOpened(sessions, target, answer.headers.location);
    if (method === "PUT" && exchange.status < 300 && /\/manifests\/[^:]+$/.test(target)) line.countTag();
    await line.passes();
    response.writeHead(exchange.status, answer.statusMessage, headersOf(answer).flat());
    await pipeline(answer, (body) => line.carry(body, (bytes) => count(exchange, "given", bytes)), response);
  };

  const server = createServer((request, response) => {
    relay(request, response).catch(() => request.socket.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.on("connection", (socket) => {
    connections += 1;
    sockets.set(socket, connections);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const drop = (): void => {
    for (const socket of sockets.keys()) socket.destroy();
  };
  line.onBreak = drop;
  const blobOf = ({ target }: Exchange): string | undefined =>
    /\/blobs\/(\w+:[0-9a-f]+)/.exec(target)?.[1] ?? digestIn(target) ?? sessions.get(sessionOf(target) ?? "");
  const sumOf = (count: (exchange: Exchange) => number): number =>
    exchanges.reduce((sum, exchange) => sum + count(exchange), 0);
  return {
    host: `127.0.0.1:${port}`,
    port,
    line,
    get exchanges() {
      return exchanges;
    },
    get given() {
      return sumOf(({ given }) => given);
    },
    get sent() {
      return sumOf(({ sent }) => sent);
    },
    givenOf: (digest) => sumOf((exchange) => (blobOf(exchange) === digest ? exchange.given : 0)),
    sentOf: (digest) => sumOf((exchange) => (blobOf(exchange) === digest ? exchange.sent : 0)),
    get blobConnections() {
      const open = new Set(sockets.values());
      return connectionsOf(exchanges).filter((connection) => open.has(connection)).length;
    },
    forget: () => {
      exchanges = [];
    },
    drop,
    [Symbol.asyncDispose]: async () => {
      line.thaw();
      drop();
      agent.destroy();
      await new Promise((settle) => server.close(settle));
    },
  };
}

/** The connections that blobs came over. */
export function connectionsOf(exchanges: readonly Exchange[]): readonly number[] {
  const blobs = exchanges.filter(({ method, target }) => method === "GET" && /\/blobs\//.test(target));
  return [...new Set(blobs.map(({ connection }) => connection))];
}

function count(exchange: Mutable<Exchange>, way: "sent" | "given", bytes: number): void {
  exchange[way] += bytes;
}

/** The headers as they came, without those of the connection. */
function headersOf({ rawHeaders }: IncomingMessage): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = "", value = ""] = rawHeaders.slice(at, at + 2);
    if (!hopByHop.has(name.toLowerCase())) pairs.push([name, value]);
  }
  return pairs;
}

/** The upload session in a path: docker-registry's is a UUID. */
function sessionOf(target: string): string | undefined {
  return /\/blobs\/uploads\/([^?/]+)/.exec(target)?.[1];
}

function digestIn(target: string): string | undefined {
  return new URLSearchParams(target.split("?", 2)[1]).get("digest") ?? undefined;
}

function noteSession(sessions: Map<string, string>, target: string): void {
  const [session, digest] = [sessionOf(target), digestIn(target)];
  if (session !== undefined && digest !== undefined) sessions.set(session, digest);
}

/** A mount that was not done opens a session for the same blob. */
function noteOpened(sessions: Map<string, string>, target: string, location: string | undefined): void {
  const mounted = new URLSearchParams(target.split("?", 2)[1]).get("mount");
  const session = sessionOf(location ?? "");
  if (mounted !== null && session !== undefined) sessions.set(session, mounted);
}
