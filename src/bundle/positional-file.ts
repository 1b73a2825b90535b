/**
 * What is needed of a file whose places are read and written in any order. A FileHandle is one as it is; a set of
 * volumes is one over several files.
 */

/** A file to read. Positions and lengths in bytes. */
export interface PositionalReader {
  /** Reads up to `length` bytes from a position on; none at the end of the file. */
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  stat(options: { readonly bigint: true }): Promise<PositionalStats>;
  close(): Promise<void>;
}

/** How a file is now: sizes in bytes, what it occupies in blocks of 512 bytes, and the time of its last change. */
export interface PositionalStats {
  readonly size: bigint;
  readonly blocks: bigint;
  readonly mtimeNs: bigint;
}

/** A file to write, in whatever order. */
export interface PositionalWriter {
  /** Writes some of the buffers at a position, as the system's `pwritev` does. */
  writev(buffers: readonly Uint8Array[], position: number): Promise<{ readonly bytesWritten: number }>;
}

/** A file that grows in place. */
export interface PositionalFile extends PositionalReader, PositionalWriter {
  /** Makes the file this long: what is new of it is zero. */
  truncate(bytes: number): Promise<void>;
  datasync(): Promise<void>;
  sync(): Promise<void>;
}
