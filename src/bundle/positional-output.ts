/** Writes chunks one behind the other at a place in a file: large ones as they are, small ones gathered. */
import { writeAll } from "./disk.ts";
import type { PositionalWriter } from "./positional-file.ts";

/** Chunks under this size are gathered: a slow link brings a few kilobytes at a time. Bytes. */
const largeChunkBytes = 128 * 1024;
const gatherBytes = 512 * 1024;
/** No longer than this, in milliseconds: what is gathered is lost in a crash. */
const gatherMs = 20;

/** The output of one stream. One write is under way while the next chunk comes; never more, so memory stays flat. */
export class PositionalOutput {
  readonly #file: PositionalWriter;
  readonly #name: string;
  readonly #onWritten: ((position: number) => void) | undefined;
  #position: number;
  #gathered: Uint8Array[] = [];
  #length = 0;
  /** When the first of them came. */
  #since = 0;
  #writing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;
  /** The write of a chunk that is only lent, until the next call has waited for it. */
  #lent: Promise<void> | undefined;

  /**
   * `position`: where the first byte goes. `name`: what messages call the file. `onWritten` is told after each write
   * up to where (position in the file) all is written; what it throws counts as a failure to write.
   */
  constructor(
    file: PositionalWriter,
    place: { readonly position: number; readonly name: string },
    onWritten?: (position: number) => void,
  ) {
    this.#file = file;
    this.#position = place.position;
    this.#name = place.name;
    this.#onWritten = onWritten;
  }

  /** Up to here (position in the file) everything is written or being written. */
  get position(): number {
    return this.#position;
  }

  /**
   * Takes a chunk, which must stay as it is until the next call resolves: then the next but one may be asked for, and
   * comes into the same buffer (ByteStream).
   * Throws DISK for this chunk or an earlier one.
   */
  async write(chunk: Uint8Array): Promise<void> {
    // Whatever comes behind a write that has failed is lost, so none of it is waited for.
    if (this.#failure !== undefined) throw this.#failure.error;
    const isLarge = chunk.byteLength >= largeChunkBytes;
    if (this.#length === 0) this.#since = performance.now();
    // A chunk is only lent, and a gathered one waits longer than that.
    this.#gathered.push(isLarge ? chunk : Buffer.from(chunk));
    this.#length += chunk.byteLength;
    const lent = this.#lent;
    this.#lent = undefined;
    const isTime = this.#length >= gatherBytes || performance.now() - this.#since >= gatherMs;
    if (isLarge || isTime) await this.#start();
    // A small chunk starts no write that would wait for the one before.
    else await lent;
    if (isLarge) this.#lent = this.#writing;
  }

  /** Resolves when everything that was taken is written. */
  async flush(): Promise<void> {
    await this.#start();
    await this.#writing;
  }

  async #start(): Promise<void> {
    await this.#writing;
    if (this.#length === 0) return;
    const end = this.#position + this.#length;
    const onWritten = this.#onWritten;
    const written = writeAll(this.#file, this.#gathered, this.#position, this.#name);
    this.#writing = onWritten === undefined ? written : written.then(() => onWritten(end));
    // A failure is met by the next call; until then it must not count as unhandled.
    this.#writing.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#position = end;
    this.#gathered = [];
    this.#length = 0;
  }
}
