/** gzip and zstd: told by their first bytes, decompressed with an eye on bombs. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { AppError } from "../../errors.ts";
import { damagedArchive } from "./archive-error.ts";
import { zstdFrames } from "./zstd-frames.ts";

/** How something is compressed; undefined for not at all. */
export type Compression = "gzip" | "zstd" | "xz" | "bzip2" | undefined;

/** So many bytes tell how something is compressed. */
export const magicBytes = 6;

/** Tells by the first bytes. */
export function compressionOf(head: Uint8Array): Compression {
  const hex = Buffer.from(head.subarray(0, magicBytes)).toString("hex");
  if (hex.startsWith("1f8b08")) return "gzip";
  // The second is a skippable frame, which pzstd and others put in front.
  if (hex.startsWith("28b52ffd") || /^5.2a4d18/.test(hex)) return "zstd";
  if (hex.startsWith("fd377a585a00")) return "xz";
  if (hex.startsWith("425a68")) return "bzip2";
  return undefined;
}

/** Up to here any ratio is allowed, in bytes: what is read so far costs neither memory nor much time. */
const freeBytes = 1024 * 1024 * 1024;
/** Beyond that, so many bytes may come out of each one that went in: real archives stay under 20. */
const maxRatio = 250;
const outputBytes = 256 * 1024;

/**
 * The bytes inside. The chunks of `stream` are kept for a while, so they must not be lent ones. Throws INTEGRITY for a
 * stream that is damaged or truncated, or that grows like nothing honest does.
 */
export async function* decompress(
  stream: AsyncIterable<Uint8Array>,
  compression: "gzip" | "zstd",
  name: string,
): AsyncGenerator<Uint8Array, void> {
  let taken = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of stream) {
      taken += chunk.byteLength;
      yield chunk;
    }
  };
  const options = { chunkSize: outputBytes };
  const inflate = compression === "gzip" ? createGunzip(options) : createZstdDecompress(options);
  const input = compression === "gzip" ? counted() : zstdFrames(counted());
  const running = pipeline(Readable.from(input, { highWaterMark: 1 }), inflate);
  // Its failure is met by whoever reads what comes out.
  running.catch(() => undefined);
  let given = 0;
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      given += chunk.byteLength;
      if (given > freeBytes && given > taken * maxRatio)
        throw damagedArchive(
          name,
          `more than ${maxRatio} bytes come out of each byte of it, as if it were made to fill a disk`,
        );
      yield chunk;
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw damagedArchive(
      name,
      `what is compressed with ${compression} is damaged or truncated (${reason})`,
      error,
    );
  } finally {
    inflate.destroy();
    await running.catch(() => undefined);
  }
}
