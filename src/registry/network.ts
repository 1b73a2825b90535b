/** The two ways to a registry: undici for small requests, connections of our own for blobs, over one connector. */
import type { Clock } from "../content/retry.ts";
import { systemCode } from "../errors.ts";
import { blobTransport, discard, requestTransport, singleHeader, type Transport } from "./http.ts";
import { makeAgent } from "./net/agent.ts";
import { Connector } from "./net/connector.ts";
import { ProxyFailure } from "./net/failures.ts";
import type { AddressGuard } from "./net/guard.ts";
import { lateAlert, type Spoken, whatItSpeaks } from "./net/probe.ts";
import type { HttpProxy, ProxyFor } from "./net/proxy.ts";
import { defaultTimeouts, type Timeouts } from "./net/timeouts.ts";
import type { TrustOptions } from "./net/trust.ts";
import { Wires } from "./net/wires.ts";
import { networkError } from "./network-errors.ts";
import { type RequestTrace, traced } from "./trace.ts";

export interface NetworkOptions extends TrustOptions {
  /** Which proxy a URL is reached through; all are reached directly if left out. */
  readonly proxyFor?: ProxyFor | undefined;
  /** What differs from the defaults. */
  readonly timeouts?: Partial<Timeouts> | undefined;
  /** Told of every exchange, those with token services and storages included. */
  readonly onRequest?: ((trace: RequestTrace) => void) | undefined;
}

export interface Network {
  /** Small requests and answers. */
  readonly small: Transport;
  /** Bodies of blobs, in either direction. */
  readonly large: Transport;
  /** Looks at what a port speaks that does not complete a TLS handshake. */
  speaks(origin: URL, signal?: AbortSignal): Promise<Spoken>;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Opens nothing yet: connections are made on demand. `guard`: that of the registry, which says where they may lead. */
export function makeNetwork(options: NetworkOptions, clock: Clock, guard: AddressGuard): Network {
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const connector = new Connector({ trust: options, timeouts, guard, proxyFor: options.proxyFor });
  const dispatcher = makeAgent(connector, timeouts);
  const wires = new Wires(connector, timeouts);
  const { onRequest } = options;
  const forwardProxy = (url: URL): HttpProxy | undefined => connector.forwardProxy(url);
  /** Origins that have answered, or that were asked why they do not. */
  const answered = new Set<string>();
  /** An origin that never answers, and ends what it has accepted: it may have said why. */
  const explained = (transport: Transport): Transport => {
    return async (exchange) => {
      const { url, signal, what } = exchange;
      try {
        const answer = await transport(exchange);
        answered.add(url.origin);
        return answer;
      } catch (error) {
        const broke = brokenCodes.has(systemCode(error) ?? "");
        if (url.protocol !== "https:" || !broke || answered.has(url.origin) || signal?.aborted === true)
          throw error;
        // Once is enough: the alert comes within a round trip, or never.
        answered.add(url.origin);
        const waitMs = Math.min(alertWaitMs, timeouts.connectMs);
        const alert = await lateAlert(connector, url, waitMs, signal);
        throw alert === undefined ? error : networkError(what, url.host, alert);
      }
    };
  };
  const told = (plain: Transport): Transport => {
    const transport = explained(plain);
    const judged = options.proxyFor === undefined ? transport : refusing(transport, forwardProxy);
    return onRequest === undefined ? judged : traced(judged, clock, onRequest);
  };
  return {
    small: told(requestTransport({ dispatcher, timeouts, forwardProxy })),
    large: told(blobTransport({ wires, timeouts, forwardProxy })),
    speaks: async (origin, signal) => await whatItSpeaks(connector, origin, timeouts.connectMs, signal),
    close: async () => {
      connector.close();
      wires.close();
      await dispatcher.destroy();
    },
  };
}

const alertWaitMs = 2000;
const brokenCodes: ReadonlySet<string> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);
const proxyStatuses: ReadonlySet<number> = new Set([403, 502, 503, 504]);

/** The transport, failing for answers that are the proxy's own: they would look like the registry's otherwise. */
function refusing(transport: Transport, forwardProxy: (url: URL) => HttpProxy | undefined): Transport {
  return async (exchange) => {
    const answer = await transport(exchange);
    const { url, status } = answer;
    const proxy = forwardProxy(url);
    if (proxy === undefined) return answer;
    // Registries name their version with every answer, and do not answer with pages for people.
    const foreign =
      singleHeader(answer, "docker-distribution-api-version") === undefined &&
      /^text\/html/i.test(singleHeader(answer, "content-type") ?? "");
    if (status !== 407 && !(proxyStatuses.has(status) && foreign)) return answer;
    discard(answer);
    throw networkError(exchange.what, url.host, new ProxyFailure(proxy, url.host, { status }));
  };
}
