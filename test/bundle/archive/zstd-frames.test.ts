import { Readable } from "node:stream";
import { constants, createZstdDecompress, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { zstdFrames } from "../../../src/bundle/archive/zstd-frames.ts";
import { randomBytesOf } from "../../support/layers.ts";

/** Bytes in pieces of a length, as a file is read. */
async function* inPieces(bytes: Buffer, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += length) yield bytes.subarray(at, at + length);
}

async function decompress(bytes: Buffer, length: number): Promise<Buffer> {
  const out: Buffer[] = [];
  const stream = Readable.from(zstdFrames(inPieces(bytes, length))).pipe(createZstdDecompress());
  for await (const chunk of stream as AsyncIterable<Buffer>) out.push(chunk);
  return Buffer.concat(out);
}

const frame = fc.record({
  content: fc.oneof(
    fc.nat({ max: 400_000 }).map((size) => randomBytesOf(`${size}`, size)),
    fc.nat({ max: 2_000_000 }).map((size) => Buffer.alloc(size, size % 7)),
  ),
  checksum: fc.boolean(),
  skip: fc.option(fc.uint8Array({ maxLength: 300 })),
});

test("frames of any kind come out whole, in pieces of any length", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(frame, { minLength: 1, maxLength: 4 }),
      fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 3_000_000 })),
      async (frames, length) => {
        // Piece by piece of a few bytes, a megabyte takes seconds.
        const contents = frames.map(({ content }) => (length > 20 ? content : content.subarray(0, 2000)));
        const parts = frames.flatMap(({ checksum, skip }, at) => {
          const params = { [constants.ZSTD_c_checksumFlag]: Number(checksum) };
          const header = Buffer.from("5a2a4d1800000000", "hex");
          header.writeUInt32LE(skip?.byteLength ?? 0, 4);
          const before = skip === null ? [] : [header, skip];
          return [...before, zstdCompressSync(contents[at] ?? Buffer.alloc(0), { params })];
        });
        const back = await decompress(Buffer.concat(parts), length);
        expect(back.equals(Buffer.concat(contents))).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

test("what is truncated or no frame is refused", async () => {
  const whole = zstdCompressSync(randomBytesOf("x", 100_000));
  for (const length of [3, 7, 90_000])
    await expect(decompress(whole.subarray(0, length), 64)).rejects.toThrow();
  await expect(decompress(Buffer.concat([whole, Buffer.from("not a frame")]), 50_000)).rejects.toThrow();
  await expect(decompress(Buffer.from("not a frame at all"), 5)).rejects.toThrow();
});
