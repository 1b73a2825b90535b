/** Tar headers: made by tar-stream with every field fixed, and compared byte by byte when they are read back. */
import { pack } from "tar-stream";
import { AppError } from "../errors.ts";

/** Tar's unit, in bytes: headers and contents are padded to it. */
export const blockBytes = 512;
/** Two empty blocks end a tar. */
export const endBytes = 2 * blockBytes;

const typeFlagOffset = 156;
const regularFile = "0".charCodeAt(0);

/** The bytes after content of `size` bytes that fill up its last block. */
export function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

/**
 * The header of a regular file, with everything that could differ between two runs fixed (mtime 0, uid 0, mode
 * 0644). Sizes over 8 GiB are written in base 256; a name that no plain header can hold (`blobs/sha512/…`) gets a
 * PAX header in front, so the result is one or more blocks long.
 */
export async function tarHeader(name: string, size: number): Promise<Buffer> {
  // Left alone once it has given the header: ending an archive whose entry is not complete makes it fail.
  const archive = pack();
  const header = Promise.withResolvers<Buffer>();
  const blocks: Buffer[] = [];
  archive.on("data", (data: unknown) => {
    const block = data as Buffer;
    blocks.push(block);
    if (block.byteLength === blockBytes && block[typeFlagOffset] === regularFile)
      header.resolve(Buffer.concat(blocks));
  });
  archive.on("error", header.reject);
  archive
    .entry({ name, size, mode: 0o644, mtime: new Date(0), uid: 0, gid: 0, type: "file" })
    .on("error", header.reject);
  return await header.promise;
}

/** What a plain header block says. Enough to find the first files of a bundle; undefined for an empty block. */
export function readHeader(block: Uint8Array): { name: string; size: number } | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  const text = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const field = (from: number, length: number): string =>
    text.toString("latin1", from, from + length).replace(/[\0 ].*$/s, "");
  const checksum = text.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (Number.parseInt(field(148, 8), 8) !== checksum)
    throw new AppError("BUNDLE", "a tar header has a wrong checksum");
  return { name: field(0, 100), size: Number.parseInt(field(124, 12), 8) };
}
