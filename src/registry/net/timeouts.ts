/** How long the other side may take. There is no limit on a transfer as a whole: links can be slow. */
import { coded } from "./wire-format.ts";

/** All in milliseconds but `stallBytes`. */
export interface Timeouts {
  /** Until a connection stands: the name, TCP, the proxy and TLS together. */
  readonly connectMs: number;
  /** Until an answer begins once the request is sent, where the request does not say otherwise. */
  readonly headersMs: number;
  /** Between two pieces of a body, in either direction. */
  readonly idleMs: number;
  /** In so much time of waiting for a body… */
  readonly stallWindowMs: number;
  /** …at least so many bytes have to come. */
  readonly stallBytes: number;
}

/** A body stalls under 1 KiB/s over a minute (protocol notes 5.2, rule 8). */
export const defaultTimeouts: Timeouts = {
  connectMs: 15_000,
  headersMs: 60_000,
  idleMs: 90_000,
  stallWindowMs: 60_000,
  stallBytes: 60 * 1024,
};

/**
 * Tells a body that trickles from one that is slow. Only the time in which we wait for the other side counts: who
 * writes to a slow disk in between is not stalled.
 */
export class StallMeter {
  readonly #timeouts: Timeouts;
  #waitedMs = 0;
  #bytes = 0;

  constructor(timeouts: Timeouts) {
    this.#timeouts = timeouts;
  }

  /** Counts `bytes` that came after `waitedMs` of waiting. Throws what networkError calls stalled. */
  count(waitedMs: number, bytes: number): void {
    this.#waitedMs += waitedMs;
    this.#bytes += bytes;
    if (this.#waitedMs < this.#timeouts.stallWindowMs) return;
    if (this.#bytes < this.#timeouts.stallBytes) throw coded("MIRROR_STALLED", "the transfer has stalled");
    this.#waitedMs = 0;
    this.#bytes = 0;
  }
}

/** A stream whose trickling is an error. */
export async function* metered(
  stream: AsyncIterable<Uint8Array>,
  timeouts: Timeouts,
): AsyncGenerator<Uint8Array, void> {
  const meter = new StallMeter(timeouts);
  let since = performance.now();
  for await (const chunk of stream) {
    meter.count(performance.now() - since, chunk.byteLength);
    yield chunk;
    since = performance.now();
  }
}
