/** Sends what is written on its way to the disk while more of it comes, so that the last fsync finds little to do. */
import { type Clock, systemClock } from "../content/retry.ts";
import type { PositionalFile } from "./positional-file.ts";

/** So much is written between two of these, at most and at least. Bytes. */
const maxEveryBytes = 256 * 1024 * 1024;
const minEveryBytes = 8 * 1024 * 1024;
/** A process cannot end while one of these is under way, so on a slow disk they are made smaller. Milliseconds. */
const wantedMs = 500;
/** Who leaves the file unfinished waits no longer than this. Milliseconds. */
const partingMs = 200;

/** What of a file is needed. */
export type Syncable = Pick<PositionalFile, "datasync" | "close">;

/** Counts what is written to a file, and syncs it in the background now and then. */
export class EarlySync {
  readonly #file: Syncable;
  readonly #clock: Clock;
  #unsynced = 0;
  #everyBytes = maxEveryBytes;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(file: Syncable, clock: Clock = systemClock) {
    this.#file = file;
    this.#clock = clock;
  }

  /** So many bytes were written. */
  wrote(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < this.#everyBytes || this.#running !== undefined) return;
    const synced = this.#unsynced;
    const since = this.#clock.now();
    this.#unsynced = 0;
    this.#running = this.#file
      .datasync()
      // Kept for the end: the system tells of a lost write once, and a later sync would find nothing wrong.
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#running = undefined;
        const wanted = (synced * wantedMs) / Math.max(this.#clock.now() - since, 1);
        this.#everyBytes = Math.max(minEveryBytes, Math.min(maxEveryBytes, wanted));
      });
  }

  /** Resolves when none is under way: nobody may close the file under it. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /**
   * Closes the file as it is, for the next run. A sync that is under way goes on in the kernel; closing would wait for
   * it, and Ctrl-C cannot, so this resolves soon in any case.
   */
  async leave(): Promise<void> {
    const closed = this.#file.close().catch(() => undefined);
    const over = new AbortController();
    await Promise.race([closed, this.#clock.sleep(partingMs, over.signal).catch(() => undefined)]);
    over.abort();
  }

  /** Throws what a sync in the background has met: what was written before may be lost. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
