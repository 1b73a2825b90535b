/** The connections for large bodies of one registry: opened on demand, used again while they are warm. */
import type { Connector } from "./connector.ts";
import type { Timeouts } from "./timeouts.ts";
import { Wire, type WireAnswer, type WireRequest } from "./wire.ts";
import { coded } from "./wire-format.ts";

interface Idle {
  readonly wire: Wire;
  readonly timer: NodeJS.Timeout;
}

/** Servers close idle connections after some seconds; a little before that, we do. Milliseconds. */
const keepAliveMs = 4_000;

/** A pool of {@link Wire}s by origin. */
export class Wires {
  readonly #means: { readonly connector: Connector; readonly timeouts: Timeouts };
  readonly #idle = new Map<string, Idle[]>();
  /** All open connections, with what is to do when their exchange is over. */
  readonly #open = new Map<Wire, () => void>();

  constructor(connector: Connector, timeouts: Timeouts) {
    this.#means = { connector, timeouts };
  }

  /**
   * Sends a request over a warm connection, or a new one. A warm connection that turns out to be closed is
   * replaced if nothing of a body had to be sent yet. Throws what the socket throws.
   */
  async send(request: WireRequest, signal?: AbortSignal): Promise<WireAnswer> {
    for (;;) {
      signal?.throwIfAborted();
      const warm = request.fresh ? undefined : this.#take(request.url.origin);
      const wire = warm ?? (await this.#connect(request, signal));
      if (signal?.aborted === true) wire.destroy(signal.reason);
      const abort = (): void => wire.destroy(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      this.#open.set(wire, () => signal?.removeEventListener("abort", abort));
      try {
        return await wire.exchange(request);
      } catch (error) {
        if (warm === undefined || request.body !== undefined || signal?.aborted === true) throw error;
      }
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const { timer } of [...this.#idle.values()].flat()) clearTimeout(timer);
    this.#idle.clear();
    for (const wire of this.#open.keys()) wire.destroy(coded("UND_ERR_DESTROYED", "the client is closed"));
  }

  async #connect({ url, fresh }: WireRequest, signal: AbortSignal | undefined): Promise<Wire> {
    const { origin } = url;
    const events = {
      onIdle: (wire: Wire): void => {
        this.#open.get(wire)?.();
        if (fresh) wire.destroy();
        else this.#keep(origin, wire);
      },
      onClose: (wire: Wire): void => {
        this.#open.get(wire)?.();
        this.#open.delete(wire);
      },
    };
    return await Wire.connect(url, this.#means, events, signal);
  }

  #keep(origin: string, wire: Wire): void {
    const timer = setTimeout(() => wire.destroy(), keepAliveMs);
    timer.unref();
    this.#idle.set(origin, [...(this.#idle.get(origin) ?? []), { wire, timer }]);
  }

  #take(origin: string): Wire | undefined {
    const list = this.#idle.get(origin) ?? [];
    for (let last = list.pop(); last !== undefined; last = list.pop()) {
      clearTimeout(last.timer);
      if (last.wire.usable) return last.wire;
    }
    return undefined;
  }
}
