/** The two buffers that a connection reads into in turn. */
import type { OnReadOpts } from "node:net";

/** One read takes up to this many bytes: few reads on a fast link, and little memory for eight streams. */
const readBytes = 1024 * 1024;
/** Chunks under this size are handed out as copies, which cost less than a buffer that is not used again. Bytes. */
export const keptChunkBytes = 64 * 1024;

/** A chunk stays valid while the next one comes, as ByteStream promises. */
export class ReadBuffers {
  /** Takes what has been read; it stops then until the socket is resumed. */
  onChunk: (chunk: Uint8Array) => void = () => undefined;
  #current: Buffer | undefined;
  /** The buffer of the chunk before the current one. */
  #spare: Buffer | undefined;
  #lastBytes = 0;

  /** For `net.connect`. */
  readonly onread: OnReadOpts = {
    buffer: () => {
      const next = this.#spare ?? Buffer.allocUnsafeSlow(readBytes);
      this.#spare = this.#current;
      this.#current = next;
      return next;
    },
    callback: (length, buffer) => {
      this.#lastBytes = length;
      this.onChunk(buffer.subarray(0, length));
      // Reading goes on when the next chunk is asked for.
      return false;
    },
  };

  /** The last chunk may still be on its way to a disk, and the next exchange is somebody else's. */
  release(): void {
    if (this.#lastBytes >= keptChunkBytes) this.#spare = undefined;
  }
}
