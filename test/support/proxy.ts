/** An HTTP proxy on a free port: tunnels and forwards as Squid does, wants a password if told so, and logs what it saw. */
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";

export interface ProxyOptions {
  /** `USER:PASSWORD` that clients have to give; everybody may pass if left out. */
  readonly login?: string;
  /** The proxy itself speaks TLS. PEM. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Where names lead that only the proxy knows: `host:port` by `host:port`. */
  readonly routes?: Readonly<Record<string, string>>;
  /** Answers everything with this status. */
  readonly refuse?: number;
}

/** A request that came to the proxy. */
export interface SeenByProxy {
  /** `CONNECT`, or the method that was forwarded. */
  readonly method: string;
  /** `host:port` of a tunnel, or the whole URL. */
  readonly target: string;
  readonly authorization: string | undefined;
}

export interface TestProxy extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
  readonly seen: readonly SeenByProxy[];
}

/** Starts a proxy; disposing of it ends every socket. */
export async function startProxy(options: ProxyOptions = {}): Promise<TestProxy> {
  const seen: SeenByProxy[] = [];
  const sockets = new Set<Duplex>();
  const kept = <T extends Duplex>(socket: T): T => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const server: Server = options.tls === undefined ? createServer() : createSecureServer(options.tls);
  /** The status that a request is refused with; undefined lets it pass. */
  const refusal = (incoming: IncomingMessage): number | undefined => {
    const authorization = incoming.headers["proxy-authorization"];
    seen.push({ method: incoming.method ?? "", target: incoming.url ?? "", authorization });
    const wanted = `Basic ${Buffer.from(options.login ?? "").toString("base64")}`;
    if (options.login !== undefined && authorization !== wanted) return 407;
    return options.refuse;
  };
  const onward = (host: string): { readonly host: string; readonly port: number } => {
    const [name = "", port] = (options.routes?.[host] ?? host).split(/:(?=\d+$)/);
    return { host: name, port: Number(port ?? 80) };
  };
  server.on("connection", kept);
  server.on("connect", (incoming: IncomingMessage, socket: Socket) => {
    kept(socket);
    const status = refusal(incoming);
    if (status !== undefined) {
      socket.end(`HTTP/1.1 ${status} No\r\nproxy-authenticate: Basic realm="p"\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const to = kept(connect(onward(incoming.url ?? "")));
    to.once("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      socket.pipe(to).pipe(socket);
    });
    to.once("close", () => socket.destroy());
    socket.once("close", () => to.destroy());
  });
  server.on("request", (incoming: IncomingMessage, response: ServerResponse) => {
    const status = refusal(incoming);
    if (status !== undefined) {
      response.writeHead(status, { "content-type": "text/html" }).end("<html>no</html>");
      return;
    }
    const url = new URL(incoming.url ?? "");
    const { "proxy-authorization": _kept, ...headers } = incoming.headers;
    const sent = request(
      { ...onward(url.host), method: incoming.method, path: `${url.pathname}${url.search}`, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    sent.on("error", () => response.destroy());
    response.once("close", () => sent.destroy());
    incoming.pipe(sent);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return {
    host: `127.0.0.1:${address.port}`,
    seen,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await closed;
    },
  };
}
