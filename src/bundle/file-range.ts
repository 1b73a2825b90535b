/** A part of a file as a byte stream, read ahead by one piece. */
import { createHash } from "node:crypto";
import { readInto } from "./disk.ts";
import type { PositionalReader } from "./positional-file.ts";

/** Size of one read in bytes: large enough to be few, small enough for many streams at a time. */
const pieceBytes = 512 * 1024;
/** One piece is lent, the one before may still be in use (ByteStream), and one is being read. */
const bufferCount = 3;

/** Bytes of a file, or of a bundle: from `position` on, so many. */
export interface ByteRange {
  readonly position: number;
  readonly length: number;
}

/** Yields `length` bytes from `position` on. Throws INTEGRITY if the file is shorter, DISK if it cannot be read. */
export async function* readFileRange(
  file: Pick<PositionalReader, "read">,
  position: number,
  length: number,
  name: string,
): AsyncGenerator<Uint8Array, void> {
  const end = position + length;
  const buffers: Buffer[] = [];
  const next = (at: number, index: number): Promise<Uint8Array> | undefined => {
    if (at >= end) return undefined;
    buffers[index] ??= Buffer.allocUnsafeSlow(Math.min(pieceBytes, length));
    const piece = buffers[index].subarray(0, Math.min(pieceBytes, end - at));
    const reading = readInto(file, piece, at, name);
    // A failure is met when its turn comes; until then it must not count as unhandled.
    reading.catch(() => undefined);
    return reading;
  };
  let at = position;
  let turn = 0;
  let reading = next(at, turn);
  try {
    while (reading !== undefined) {
      const piece = await reading;
      at += piece.byteLength;
      turn = (turn + 1) % bufferCount;
      reading = next(at, turn);
      yield piece;
    }
  } finally {
    // Nobody may close the file under a read that is still under way.
    await reading?.catch(() => undefined);
  }
}

/**
 * The hexadecimal sha256 of a part of a file. Throws INTEGRITY if the file is shorter, DISK if it cannot be read, or the
 * signal's reason.
 */
export async function hashFileRange(
  file: Pick<PositionalReader, "read">,
  { position, length }: ByteRange,
  name: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of readFileRange(file, position, length, name)) {
    signal?.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest("hex");
}
