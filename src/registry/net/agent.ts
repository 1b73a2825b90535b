/** undici's connections for the small requests to one registry: how many, how long, and made by the connector. */
import { Agent, type Dispatcher } from "undici";
import type { Connector } from "./connector.ts";
import type { Timeouts } from "./timeouts.ts";

/** Signed cookies and `_state` of upload locations outgrow undici's 16 KiB. */
const maxHeaderBytes = 64 * 1024;
const keepAliveMs = 20_000;

/** An agent of its own. Ends with `close()` or `destroy()`. */
export function makeAgent(connector: Connector, timeouts: Timeouts): Dispatcher {
  return new Agent({
    // HTTP/2 adds stream resets on early answers, and no registry is faster with it.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    bodyTimeout: timeouts.idleMs,
    maxHeaderSize: maxHeaderBytes,
    connect: ({ protocol, host, hostname }, callback) => {
      connector.open(new URL(`${protocol}//${host ?? hostname}`)).then(
        (socket) => callback(null, socket),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
      );
    },
  });
}
