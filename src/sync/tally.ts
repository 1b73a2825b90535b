/** Counts what the events of a run add up to: the figures of the summary and of `--json`. */
import type { Clock } from "../content/retry.ts";
import type { RegistryLimit, SkipReason, Totals, TransferEvent } from "./events.ts";

/** Consumes events; {@link Tally.totals} may be asked for at any time. */
export class Tally {
  readonly #clock: Clock;
  readonly #startedMs: number;
  #images = 0;
  #failed = 0;
  #unchanged = 0;
  #waiting = 0;
  #moved = { blobs: 0, bytes: 0 };
  readonly #limits = new Map<string, RegistryLimit>();
  readonly #skipped: Readonly<Record<SkipReason, { blobs: number; bytes: number }>> = {
    exists: { blobs: 0, bytes: 0 },
    mounted: { blobs: 0, bytes: 0 },
    reused: { blobs: 0, bytes: 0 },
  };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.now();
  }

  on(event: TransferEvent): void {
    if (event.type === "image-finished") {
      this.#images += 1;
      if (event.unchanged) this.#unchanged += 1;
    } else if (event.type === "image-failed") {
      this.#images += 1;
      this.#failed += 1;
    } else if (event.type === "image-waiting") {
      this.#images += 1;
      this.#waiting += 1;
    } else if (event.type === "blob-finished") {
      const { size, reused = 0 } = event;
      this.#moved = { blobs: this.#moved.blobs + 1, bytes: this.#moved.bytes + size - reused };
      this.#skipped.reused.bytes += reused;
    } else if (event.type === "rate-limit") {
      const { type: _type, ...limit } = event;
      this.#limits.set(limit.registry, limit);
    } else if (event.type === "blob-skipped") {
      const count = this.#skipped[event.reason];
      count.blobs += 1;
      count.bytes += event.size;
    }
  }

  /** The figures so far. */
  totals(): Totals {
    const { exists, mounted, reused } = this.#skipped;
    return {
      images: this.#images,
      failedImages: this.#failed,
      unchangedImages: this.#unchanged,
      ...(this.#waiting === 0 ? {} : { waitingImages: this.#waiting }),
      blobs: this.#moved.blobs,
      bytesMoved: this.#moved.bytes,
      blobsSkipped: exists.blobs,
      bytesSkipped: exists.bytes,
      blobsMounted: mounted.blobs,
      bytesMounted: mounted.bytes,
      blobsReused: reused.blobs,
      bytesReused: reused.bytes,
      limits: [...this.#limits.values()],
      seconds: Math.round(this.#clock.now() - this.#startedMs) / 1000,
    };
  }
}
