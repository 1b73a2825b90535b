/** Lent chunks on their way to a slow disk: what is written is what came, whatever the stream does next. */
import type { FileHandle } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { PositionalOutput } from "../../src/bundle/positional-output.ts";

/** A file whose writes look at the bytes only after a while, as a slow disk does. */
function slowFile(written: Buffer): FileHandle {
  const writev = async (
    buffers: readonly Uint8Array[],
    position: number,
  ): Promise<{ bytesWritten: number }> => {
    await sleep(20);
    const bytes = Buffer.concat(buffers);
    bytes.copy(written, position);
    return { bytesWritten: bytes.byteLength };
  };
  return { writev } as unknown as FileHandle;
}

test.each([
  ["a small one", [200_000, 1000, 200_000]],
  ["several small ones", [200_000, 10, 10, 200_000, 10, 10]],
  ["large ones", [200_000, 200_000, 200_000, 200_000]],
])(
  "a large chunk is written as it came when %s follows, though its buffer is used again",
  async (_, sizes) => {
    const written = Buffer.alloc(sizes.reduce((sum, size) => sum + size, 0));
    const expected = Buffer.concat(sizes.map((size, index) => Buffer.alloc(size, index + 1)));
    const output = new PositionalOutput(slowFile(written), { position: 0, name: "slow" });
    // As wire.ts lends its chunks: two buffers in turn.
    const buffers = [Buffer.alloc(200_000), Buffer.alloc(200_000)] as const;
    for (const [index, size] of sizes.entries()) {
      const buffer = index % 2 === 0 ? buffers[0] : buffers[1];
      await output.write(buffer.subarray(0, size).fill(index + 1));
    }
    await output.flush();
    expect(written.equals(expected)).toBe(true);
  },
);

test("a write that has failed ends it with the next chunk, however small that is", async () => {
  const failed = Promise.withResolvers<void>();
  const writev = async (): Promise<never> => {
    await Promise.resolve();
    queueMicrotask(failed.resolve);
    throw new Error("no space");
  };
  const output = new PositionalOutput({ writev }, { position: 0, name: "full" });
  await output.write(Buffer.alloc(200_000));
  await failed.promise;
  await new Promise(setImmediate);
  await expect(output.write(Buffer.alloc(10))).rejects.toThrow("no space");
});
