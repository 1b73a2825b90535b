/** A TCP relay in front of a server: a line that is slow, or that breaks. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Transform } from "node:stream";

/** Options of {@link startRelay}. */
export interface RelayOptions {
  /** Port of 127.0.0.1 to pass on to. */
  readonly port: number;
  /** The most that all connections together send towards the server. Bytes per second. */
  readonly upload?: number;
  /** A connection breaks once it has moved so many bytes in both directions, asked anew for each. */
  readonly breakAfter?: () => number;
}

/** A running relay. */
export interface Relay extends AsyncDisposable {
  /** `127.0.0.1:34567` */
  readonly host: string;
  /** Bytes moved so far, towards the server and from it. */
  readonly moved: { readonly up: number; readonly down: number };
  /** How many connections broke. */
  readonly broken: number;
  readonly close: () => Promise<void>;
}

/** Starts a relay on a free port of 127.0.0.1. */
export async function startRelay({ port, upload, breakAfter }: RelayOptions): Promise<Relay> {
  const moved = { up: 0, down: 0 };
  let broken = 0;
  // When the line is free again: all connections share it.
  let free = 0;
  const paced = (bytes: number, pass: () => void): void => {
    if (upload === undefined) {
      pass();
      return;
    }
    const now = performance.now();
    free = Math.max(free, now) + (bytes / upload) * 1000;
    setTimeout(pass, free - now);
  };
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ port, host: "127.0.0.1" });
    const both = [near, far];
    let left = breakAfter?.() ?? Number.POSITIVE_INFINITY;
    const cut = (): void => {
      for (const socket of both) socket.destroy();
    };
    const counted = (direction: "up" | "down", bytes: number): boolean => {
      moved[direction] += bytes;
      left -= bytes;
      if (left > 0) return true;
      broken += 1;
      for (const socket of both) socket.destroySoon();
      return false;
    };
    for (const socket of both) {
      sockets.add(socket);
      socket.on("error", cut);
      socket.on("close", () => {
        sockets.delete(socket);
        // What has come already still goes out.
        for (const other of both) if (other !== socket) other.end();
      });
    }
    const up = new Transform({
      transform: (chunk: Buffer, _encoding, done) =>
        paced(chunk.length, () => void (counted("up", chunk.length) && done(null, chunk))),
    });
    const down = new Transform({
      transform: (chunk: Buffer, _encoding, done) =>
        void (counted("down", chunk.length) && done(null, chunk)),
    });
    near.pipe(up).pipe(far);
    far.pipe(down).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((settle) => server.close(settle));
  };
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    moved,
    get broken() {
      return broken;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
