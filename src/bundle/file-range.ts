/** A part of a file as a byte stream, read ahead by one piece. */
import type { FileHandle } from "node:fs/promises";
import { readExactly } from "./disk.ts";

/** Size of one read in bytes: large enough to be few, small enough for eight streams at a time. */
const pieceBytes = 512 * 1024;

/**
 * Yields `length` bytes from `position` on. Each piece is a buffer of its own, since who reads may keep it while
 * it is sent. Throws INTEGRITY if the file is shorter, DISK if it cannot be read.
 */
export async function* readFileRange(
  file: FileHandle,
  position: number,
  length: number,
  name: string,
): AsyncGenerator<Uint8Array, void> {
  const end = position + length;
  const next = (at: number): Promise<Buffer> | undefined => {
    if (at >= end) return undefined;
    const reading = readExactly(file, at, Math.min(pieceBytes, end - at), name);
    // A failure is met when its turn comes; until then it must not count as unhandled.
    reading.catch(() => undefined);
    return reading;
  };
  let at = position;
  let reading = next(at);
  while (reading !== undefined) {
    const piece = await reading;
    at += piece.byteLength;
    reading = next(at);
    yield piece;
  }
}
