/** Sends what is written on its way to the disk while more of it comes, so that the last fsync finds little to do. */
import type { FileHandle } from "node:fs/promises";

/** So much is written between two of these. Bytes. */
const syncEveryBytes = 256 * 1024 * 1024;

/** Counts what is written to a file, and syncs it in the background now and then. */
export class EarlySync {
  readonly #file: Pick<FileHandle, "datasync">;
  #unsynced = 0;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(file: Pick<FileHandle, "datasync">) {
    this.#file = file;
  }

  /** So many bytes were written. */
  wrote(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < syncEveryBytes || this.#running !== undefined) return;
    this.#unsynced = 0;
    this.#running = this.#file
      .datasync()
      // Kept for the end: the system tells of a lost write once, and a later sync would find nothing wrong.
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** Resolves when none is under way: nobody may close the file under it. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Throws what a sync in the background has met: what was written before may be lost. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
