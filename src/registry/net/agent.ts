/** The connections to one registry: TLS trust, timeouts, and how many sockets. */
import { connect as connectTls, createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { Agent, buildConnector, type Dispatcher } from "undici";
import { looksLikePlainHttp } from "../errors.ts";
import type { WireTrust } from "./wire.ts";

export interface TrustOptions {
  /** Further certificates to trust, PEM. */
  readonly ca?: readonly string[] | undefined;
  /** True: certificates are not checked at all. */
  readonly insecure?: boolean | undefined;
}

const connectTimeoutMs = 15_000;
/** Idle time between two pieces of a body. There is no limit on a transfer as a whole: links can be slow. */
const bodyTimeoutMs = 90_000;
/** Signed cookies and `_state` of upload locations outgrow undici's 16 KiB. */
const maxHeaderBytes = 64 * 1024;
const keepAliveMs = 20_000;

/** The trust of a registry for the connections that carry blobs (wires.ts). */
export function wireTrust(trust: TrustOptions): WireTrust {
  return { secureContext: () => secureContext(trust.ca ?? []), rejectUnauthorized: trust.insecure !== true };
}

/** An agent of its own for the small requests to one registry. Ends with `close()` or `destroy()`. */
export function makeAgent(trust: TrustOptions): Dispatcher {
  const plain = buildConnector({ timeout: connectTimeoutMs });
  let secure: buildConnector.connector | undefined;
  return new Agent({
    // HTTP/2 adds stream resets on early answers, and no registry is faster with it.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    bodyTimeout: bodyTimeoutMs,
    maxHeaderSize: maxHeaderBytes,
    connect: (options, callback) => {
      if (options.protocol !== "https:") return plain(options, callback);
      // The system's certificates take a while to read, so that is left until a TLS connection needs them.
      secure ??= buildConnector({
        timeout: connectTimeoutMs,
        secureContext: secureContext(trust.ca ?? []),
        rejectUnauthorized: trust.insecure !== true,
      });
      return secure(options, callback);
    },
  });
}

/**
 * True if the port answers a TLS handshake in plain text. Nothing is sent but the handshake, no certificate is
 * looked at, and every other outcome is false: the real connection will tell what is wrong.
 */
export async function speaksPlainHttp(origin: URL, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted === true) return false;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const host = origin.hostname.replace(/^\[|\]$/g, "");
  const socket = connectTls({
    host,
    port: Number(origin.port || 443),
    secureContext: createSecureContext({ ca: [] }),
    rejectUnauthorized: false,
    timeout: connectTimeoutMs,
  });
  socket.once("secureConnect", () => resolve(false));
  socket.once("timeout", () => resolve(false));
  socket.on("error", (error) => resolve(looksLikePlainHttp(error)));
  socket.once("close", () => resolve(false));
  const abort = (): void => resolve(false);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await promise;
  } finally {
    signal?.removeEventListener("abort", abort);
    socket.destroy();
  }
}

const contexts = new Map<string, SecureContext>();

/** One context for all connections with the same trust: parsing the system's store takes milliseconds each time. */
function secureContext(extra: readonly string[]): SecureContext {
  const key = extra.join("\n");
  const known = contexts.get(key);
  if (known !== undefined) return known;
  const ca = [...new Set([...getCACertificates("default"), ...getCACertificates("system"), ...extra])];
  const context = createSecureContext({ ca });
  contexts.set(key, context);
  return context;
}
