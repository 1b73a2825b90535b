/** CONNECT: a way through an HTTP proxy to a host behind it (RFC 9110 9.3.6). */
import type { Socket } from "node:net";
import { ProxyFailure } from "./failures.ts";
import type { HttpProxy } from "./proxy.ts";
import { coded, type Head, HeadReader } from "./wire-format.ts";

/**
 * Asks the proxy at the other end of `socket` for a connection to `target` (`host:port`); after that the socket is
 * the connection to it. Throws ProxyFailure if the proxy refuses, and what the socket fails with.
 */
export async function openTunnel(socket: Socket, proxy: HttpProxy, target: string): Promise<void> {
  const login = proxy.authorization === undefined ? "" : `proxy-authorization: ${proxy.authorization}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n${login}\r\n`);
  const { status } = await readHead(socket);
  if (status >= 300) throw new ProxyFailure(proxy, target, { status });
}

async function readHead(socket: Socket): Promise<Head> {
  const reader = new HeadReader();
  const { promise, resolve, reject } = Promise.withResolvers<Head>();
  const take = (chunk: Buffer): void => {
    try {
      const head = reader.take(chunk);
      if (head === undefined) return;
      socket.pause();
      socket.off("data", take);
      if (reader.rest.byteLength > 0) socket.unshift(reader.rest);
      resolve(head);
    } catch (error) {
      reject(error);
    }
  };
  const close = (): void => reject(coded("UND_ERR_SOCKET", "the proxy closed the connection"));
  socket.on("data", take).once("error", reject).once("end", close).once("close", close);
  try {
    return await promise;
  } finally {
    socket.off("data", take).off("error", reject).off("end", close).off("close", close);
  }
}
