import { describe, expect, test } from "vitest";
import { StreamCursor } from "../../../src/bundle/archive/cursor.ts";
import { Passes } from "../../../src/bundle/archive/passes.ts";
import type { ByteStream } from "../../../src/content/content.ts";
import { randomBytesOf } from "../../support/layers.ts";

const bytes = randomBytesOf("passes", 1_000_000);
const parts = Array.from({ length: 10 }, (_, at) => [at * 100_000, at * 100_000 + 90_000] as const);

async function* stream(content: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.byteLength; at += 7000) {
    await Promise.resolve();
    yield content.subarray(at, at + 7000);
  }
}
const passesOver = (content: Buffer, idle?: number): Passes =>
  new Passes(() => new StreamCursor(stream(content), "x.tar.gz"), idle);

async function collect(content: ByteStream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe("parts of a compressed archive", () => {
  test("asked for at once cost one pass, in whatever order", async () => {
    await using passes = passesOver(bytes);
    const asked = [...parts].reverse().map(async ([from, to]) => {
      expect((await collect(await passes.open(from, to))).equals(bytes.subarray(from, to))).toBe(true);
    });
    await Promise.all(asked);
    expect(passes.count).toBe(1);
  });

  test("asked for one after the other cost one pass in order, and one each against it", async () => {
    await using passes = passesOver(bytes);
    for (const [from, to] of parts)
      expect((await collect(await passes.open(from, to))).byteLength).toBe(to - from);
    expect(passes.count).toBe(1);
    for (const [from, to] of parts.slice(0, 3).reverse()) await collect(await passes.open(from, to));
    expect(passes.count).toBe(4);
  });

  test("are given from any offset, empty ones too", async () => {
    await using passes = passesOver(bytes);
    expect(await collect(await passes.open(500, 500))).toHaveLength(0);
    expect((await collect(await passes.open(999_990, 1_000_000))).equals(bytes.subarray(999_990))).toBe(true);
  });

  test("left in the middle do not keep the others waiting", async () => {
    await using passes = passesOver(bytes);
    for await (const _ of await passes.open(0, 90_000)) break;
    expect(await collect(await passes.open(100_000, 190_000))).toHaveLength(90_000);
    expect(passes.count).toBe(1);
  });

  test("whose reader has gone away without a word give way, and go on later where they were", async () => {
    await using passes = passesOver(bytes, 5);
    const slow = (await passes.open(0, 90_000))[Symbol.asyncIterator]();
    const first = await slow.next();
    // Waits for the one before it to be idle for two turns of the clock.
    expect(await collect(await passes.open(100_000, 190_000))).toHaveLength(90_000);
    const rest: Uint8Array[] = first.done === true ? [] : [first.value];
    for (let next = await slow.next(); next.done !== true; next = await slow.next()) rest.push(next.value);
    expect(Buffer.concat(rest).equals(bytes.subarray(0, 90_000))).toBe(true);
    expect(passes.count).toBe(2);
  });

  test("that somebody has stopped waiting for are not brought", async () => {
    await using passes = passesOver(bytes, 60_000);
    const holding = (await passes.open(0, 90_000))[Symbol.asyncIterator]();
    await holding.next();
    const stop = new AbortController();
    const waiting = passes.open(100_000, 190_000, stop.signal);
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(passes.open(0, 10, stop.signal)).rejects.toThrow("enough");
    await holding.return?.();
  });

  test("that are not there any more fail, and the others do not", async () => {
    await using passes = passesOver(bytes.subarray(0, 450_000));
    const outcomes = await Promise.allSettled(
      parts.map(async ([from, to]) => (await collect(await passes.open(from, to))).byteLength),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(
      parts.map(([, to]) => (to < 450_000 ? "fulfilled" : "rejected")),
    );
    const failed = outcomes.find(({ status }) => status === "rejected");
    expect(failed).toMatchObject({
      reason: { code: "INTEGRITY", message: expect.stringContaining("truncated") },
    });
  });
});
