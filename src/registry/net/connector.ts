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
import { connect as connectTls, type TLSSocket } from "node:tls";
import { systemCode } from "../../errors.ts";
import { CertificateFailure, ProxyFailure } from "./failures.ts";
import type { AddressGuard } from "./guard.ts";
import type { HttpProxy, ProxyFor } from "./proxy.ts";
import { Steps } from "./steps.ts";
import type { Timeouts } from "./timeouts.ts";
import { type TrustOptions, trustFor } from "./trust.ts";
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
      const onread = this.lends(url) ? use.onread : undefined;
      const socket = await this.#reach(url, steps, onread);
      if (url.protocol !== "https:") return socket;
      return await this.#secure(socket, url, steps, this.#options.guard.isOwn(url.host));
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

  async #reach(url: URL, steps: Steps, onread?: OnReadOpts): Promise<Socket> {
    const { guard, proxyFor } = this.#options;
    const host = bare(url.hostname);
    const port = portOf(url);
    // Names are judged by the guard's lookup; literals are never looked up.
    if (!guard.allows(url.host)) throw coded("MIRROR_REFUSED_ADDRESS", `${url.host} is a local address`);
    const proxy = proxyFor?.(url);
    if (proxy !== undefined) return await this.#reachProxy(proxy, url, steps, onread);
    const socket = await this.#tcp({ host, port, lookup: guard.lookup }, steps, onread);
    if (guard.isOwn(url.host) && socket.remoteAddress !== undefined) guard.learn(socket.remoteAddress);
    return socket;
  }

  async #reachProxy(proxy: HttpProxy, url: URL, steps: Steps, onread?: OnReadOpts): Promise<Socket> {
    const target = `${url.hostname}:${portOf(url)}`;
    const { hostname, port } = proxy;
    try {
      const socket = await this.#tcp({ host: hostname, port }, steps, onread);
      const hop = proxy.secure
        ? await this.#secure(socket, new URL(`https://${proxy.host}`), steps, false)
        : socket;
      if (url.protocol === "https:") await openTunnel(hop, proxy, target);
      return hop;
    } catch (error) {
      const cause = steps.failure ?? error;
      if (cause instanceof ProxyFailure || steps.aborted) throw cause;
      throw new ProxyFailure(proxy, target, { cause });
    }
  }

  async #tcp(to: TcpSocketConnectOpts, steps: Steps, onread?: OnReadOpts): Promise<Socket> {
    const socket = connectTcp({
      ...to,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: addressAttemptMs,
      ...(onread === undefined ? {} : { onread }),
    });
    socket.setNoDelay(true);
    await steps.reached(socket, "connect");
    return socket;
  }

  async #secure(under: Socket, url: URL, steps: Steps, own: boolean): Promise<TLSSocket> {
    const host = bare(url.hostname);
    steps.late = coded("MIRROR_HANDSHAKE_TIMEOUT", "the TLS handshake timed out");
    const trust = await trustFor(this.#options.trust, own ? undefined : url.host);
    const socket = connectTls({
      socket: under,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: ["http/1.1"],
      secureContext: trust.context,
      // The certificate is judged right below: Node would throw it away together with the socket, and a message
      // has to say what is wrong with it.
      rejectUnauthorized: false,
    });
    try {
      await steps.reached(socket, "secureConnect");
    } catch (error) {
      if (steps.failure !== undefined || systemCode(error) !== "ECONNRESET") throw error;
      throw coded("MIRROR_CLOSED_IN_HANDSHAKE", "the connection was closed during the TLS handshake");
    }
    if (trust.checked && !socket.authorized) throw new CertificateFailure(socket);
    return socket;
  }
}

function portOf(url: URL): number {
  return Number(url.port || (url.protocol === "https:" ? 443 : 80));
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}
