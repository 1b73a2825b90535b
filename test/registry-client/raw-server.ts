/** A server that writes to bare sockets: for peers that do not speak HTTP, or not as they should. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface RawServer extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
  /** How many connections there were. */
  readonly connections: () => number;
  /** Kept when the first connection comes. */
  readonly connected: Promise<unknown>;
}

/** Starts a server that hands every connection to `serve`; disposing of it ends every socket. */
export async function startRawServer(serve: (socket: Socket) => void): Promise<RawServer> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    sockets.add(socket);
    // Clients that hang up are what these servers are for.
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    serve(socket);
  });
  const connected = once(server, "connection");
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return {
    host: `127.0.0.1:${address.port}`,
    connections: () => count,
    connected,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function refusedHost(): Promise<string> {
  await using server = await startRawServer((socket) => socket.destroy());
  return server.host;
}

/** Passes a connection on to a port of 127.0.0.1. */
export function forward(socket: Socket, port: number): void {
  const onward = connect(port, "127.0.0.1");
  onward.on("error", () => socket.destroy());
  socket.on("close", () => onward.destroy());
  socket.pipe(onward).pipe(socket);
}
