/** The connections to one registry: TLS trust, timeouts, and how many sockets. */
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { Agent, type Dispatcher } from "undici";

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

/** An agent of its own for one registry. Ends with `close()` or `destroy()`. */
export function makeAgent(trust: TrustOptions): Dispatcher {
  return new Agent({
    // HTTP/2 adds stream resets on early answers, and no registry is faster with it.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    bodyTimeout: bodyTimeoutMs,
    maxHeaderSize: maxHeaderBytes,
    connect: {
      timeout: connectTimeoutMs,
      secureContext: secureContext(trust.ca ?? []),
      rejectUnauthorized: trust.insecure !== true,
    },
  });
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
