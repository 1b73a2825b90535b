/**
 * The one way to a host: directly or through a proxy, in plain text or over TLS. Small requests and blobs both
 * connect here, so proxies, trust, timeouts and the guard hold for everything that the client of a registry does.
 */
import {
  connect as connectTcp,
  isIP,
  type OnReadOpts,
  type Socket,
  type TcpSocketConnectOpts,
} from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { systemCode } from "../../errors.ts";
import { CertificateFailure, ProxyFailure } from "./failures.ts";
import type { AddressGuard } from "./guard.ts";
import type { HttpProxy, ProxyFor } from "./proxy.ts";
import { Steps } from "./steps.ts";
import type { Timeouts } from "./timeouts.ts";
import { type HostTrust, type TrustOptions, trustFor } from "./trust.ts";
import { openTunnel } from "./tunnel.ts";
import { coded } from "./wire-format.ts";

export interface ConnectorOptions {
  readonly trust: TrustOptions;
  readonly timeouts: Timeouts;
  readonly guard: AddressGuard;
  readonly proxyFor?: ProxyFor | undefined;
}

export interface OpenUse {
  /** Buffers to read into; used where {@link Connector.lends} says so. */
  readonly onread?: OnReadOpts | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Node tries the addresses of a name one after the other and gives each but the last so long. Its own quarter of a
 * second is less than a round trip over a satellite. Milliseconds.
 */
const addressAttemptMs = 1000;
const tries = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: addressAttemptMs } as const;

/** Makes connections for the client of one registry. */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #underWay = new Set<Steps>();

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /** The proxy that a request to this URL is handed to in absolute form; https goes through a tunnel instead. */
  forwardProxy(url: URL): HttpProxy | undefined {
    return url.protocol === "http:" ? this.#options.proxyFor?.(url) : undefined;
  }

  /** True if the connection for this URL reads into the buffers of `onread`: nothing has to be decrypted. */
  lends(url: URL): boolean {
    return url.protocol === "http:" && this.forwardProxy(url)?.secure !== true;
  }

  /** Connects, with TLS for https. Throws what the socket throws, ProxyFailure or CertificateFailure. */
  async open(url: URL, use: OpenUse = {}): Promise<Socket> {
    return await this.#within(use.signal, async (steps) => {
      if (url.protocol !== "https:")
        return await this.#reach(url, steps, this.lends(url) ? use.onread : undefined);
      const trust = await trustFor(
        this.#options.trust,
        this.#options.guard.isOwn(url.host) ? undefined : url.host,
      );
      return await this.#secure(url, steps, trust);
    });
  }

  /** Connects to the port of this URL and begins nothing: what it speaks is to be found out. */
  async openBare(url: URL, signal?: AbortSignal): Promise<Socket> {
    return await this.#within(signal, async (steps) => await this.#reach(url, steps));
  }

  /** Gives up whatever is not connected yet. */
  close(): void {
    for (const steps of this.#underWay) steps.fail(coded("UND_ERR_DESTROYED", "the client is closed"));
  }

  async #within(signal: AbortSignal | undefined, run: (steps: Steps) => Promise<Socket>): Promise<Socket> {
    const steps = new Steps(this.#options.timeouts.connectMs, signal);
    this.#underWay.add(steps);
    try {
      return await run(steps);
    } catch (error) {
      steps.fail(error);
      throw error;
    } finally {
      steps.end();
      this.#underWay.delete(steps);
    }
  }

  /** Connects to the host of a URL, or makes a tunnel to it, or connects to the proxy that takes its requests. */
  async #reach(url: URL, steps: Steps, onread?: OnReadOpts): Promise<Socket> {
    const proxy = this.#proxyOf(url);
    if (proxy !== undefined) return await this.#reachProxy(proxy, url, steps, onread);
    return await this.#arrived(
      url,
      connectTcp({ ...this.#address(url), ...(onread === undefined ? {} : { onread }) }),
      steps,
    );
  }

  async #reachProxy(proxy: HttpProxy, url: URL, steps: Steps, onread?: OnReadOpts): Promise<Socket> {
    const target = `${url.hostname}:${portOf(url)}`;
    const { hostname: host, port } = proxy;
    try {
      const socket = connectTcp({ host, port, ...tries, ...(onread === undefined ? {} : { onread }) });
      socket.setNoDelay(true);
      await steps.reached(socket, "connect");
      const hop = proxy.secure ? await this.#secureProxy(proxy, socket, steps) : socket;
      if (url.protocol === "https:") await openTunnel(hop, proxy, target);
      return hop;
    } catch (error) {
      const cause = steps.failure ?? error;
      if (cause instanceof ProxyFailure || steps.aborted) throw cause;
      throw new ProxyFailure(proxy, target, { cause });
    }
  }

  async #secure(url: URL, steps: Steps, trust: HostTrust): Promise<TLSSocket> {
    const tunnel = this.#proxyOf(url) === undefined ? undefined : await this.#reach(url, steps);
    const options = tlsOptions(bare(url.hostname), trust);
    const socket = connectTls(
      tunnel === undefined ? { ...this.#address(url), ...options } : { socket: tunnel, ...options },
    );
    if (tunnel === undefined) await this.#arrived(url, socket, steps);
    return await shakeHands(socket, steps, trust);
  }

  async #secureProxy(proxy: HttpProxy, socket: Socket, steps: Steps): Promise<TLSSocket> {
    const trust = await trustFor(this.#options.trust, proxy.host);
    return await shakeHands(connectTls({ socket, ...tlsOptions(proxy.hostname, trust) }), steps, trust);
  }

  /** The proxy for a URL. Throws for an address where this registry may not lead. */
  #proxyOf(url: URL): HttpProxy | undefined {
    const { guard, proxyFor } = this.#options;
    // Names are judged by the guard's lookup; literals are never looked up.
    if (!guard.allows(url.host)) throw coded("MIRROR_REFUSED_ADDRESS", `${url.host} is a local address`);
    return proxyFor?.(url);
  }

  #address(url: URL): TcpSocketConnectOpts {
    return { host: bare(url.hostname), port: portOf(url), lookup: this.#options.guard.lookup, ...tries };
  }

  /** Waits until a socket is connected to the host of a URL itself. */
  async #arrived<S extends Socket>(url: URL, socket: S, steps: Steps): Promise<S> {
    const { guard } = this.#options;
    socket.setNoDelay(true);
    await steps.reached(socket, "connect");
    if (guard.isOwn(url.host) && socket.remoteAddress !== undefined) guard.learn(socket.remoteAddress);
    return socket;
  }
}

function tlsOptions(host: string, trust: HostTrust): ConnectionOptions {
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: ["http/1.1"],
    secureContext: trust.context,
    // The certificate is judged by shakeHands: Node would throw it away together with the socket, and a message has
    // to say what is wrong with it.
    rejectUnauthorized: false,
  };
}

/** Waits for the handshake and judges the certificate. Nothing has been sent before that. */
async function shakeHands(socket: TLSSocket, steps: Steps, trust: HostTrust): Promise<TLSSocket> {
  steps.late = coded("MIRROR_HANDSHAKE_TIMEOUT", "the TLS handshake timed out");
  try {
    await steps.reached(socket, "secureConnect");
  } catch (error) {
    if (steps.failure !== undefined || systemCode(error) !== "ECONNRESET") throw error;
    throw coded("MIRROR_CLOSED_IN_HANDSHAKE", "the connection was closed during the TLS handshake");
  }
  if (trust.checked && !socket.authorized) throw new CertificateFailure(socket);
  return socket;
}

function portOf(url: URL): number {
  return Number(url.port || (url.protocol === "https:" ? 443 : 80));
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}
