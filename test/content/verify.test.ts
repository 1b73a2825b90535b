import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BlobSource } from "../../src/content/content.ts";
import { proveContent, readAll, resuming, verified } from "../../src/content/verify.ts";
import { AppError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import {
  blobSource,
  collect,
  descriptorOf,
  FakeClock,
  failureOf,
  piecesOf,
} from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";

const bytes = randomBytesOf("verify", 10_000);
const descriptor = descriptorOf(bytes);

/** What a reader got before the stream failed, and the failure. */
async function taken(
  stream: AsyncIterable<Uint8Array>,
): Promise<{ readonly got: number; readonly error: unknown }> {
  let got = 0;
  try {
    for await (const chunk of stream) got += chunk.byteLength;
    return { got, error: undefined };
  } catch (error) {
    return { got, error };
  }
}

describe("verified", () => {
  test.each([1, 999, 5000, 10_000, 20_000])(
    "passes right content on unchanged, in pieces of %i bytes",
    async (size) => {
      expect(await collect(verified(piecesOf(bytes, size), descriptor))).toEqual(bytes);
    },
  );

  test("takes pieces of nothing, behind the last byte too", async () => {
    const pieces = async function* (): AsyncGenerator<Uint8Array, void> {
      yield bytes.subarray(0, 0);
      yield bytes;
      yield bytes.subarray(0, 0);
    };
    expect(await collect(verified(pieces(), descriptor))).toEqual(bytes);
  });

  test("knows sha512", async () => {
    const wide = { ...descriptor, digest: digestOf(bytes, "sha512") };
    expect(await collect(verified(piecesOf(bytes, 100), wide))).toEqual(bytes);
    await expect(
      collect(verified(piecesOf(bytes, 100), { ...wide, digest: digestOf(Buffer.from("x"), "sha512") })),
    ).rejects.toThrow("sha512");
  });

  test("of nothing", async () => {
    const empty = descriptorOf(Buffer.alloc(0));
    expect(await collect(verified(piecesOf(Buffer.alloc(0), 1), empty))).toHaveLength(0);
    const other = { ...descriptor, size: 0 };
    expect((await failureOf(collect(verified(piecesOf(Buffer.alloc(0), 1), other)))).code).toBe("INTEGRITY");
  });

  test("whoever forwards it never completes wrong content", async () => {
    const cuts = fc.array(fc.nat({ max: 300 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        cuts,
        fc.nat(),
        async (content, ends, flip) => {
          const right = Buffer.from(content);
          const wrong = Buffer.from(content);
          const at = flip % wrong.length;
          wrong.writeUInt8(wrong.readUInt8(at) ^ 1, at);
          // Pieces may be empty, the last one too.
          const places = [
            0,
            ...ends.map((end) => Math.min(end, wrong.length)).sort((a, b) => a - b),
            wrong.length,
            wrong.length,
          ];
          const pieces = async function* (): AsyncGenerator<Uint8Array, void> {
            for (const [index, place] of places.entries())
              yield wrong.subarray(places[index - 1] ?? 0, place);
          };
          const { got, error } = await taken(verified(pieces(), descriptorOf(right)));
          expect(error).toMatchObject({ code: "INTEGRITY" });
          expect(got).toBeLessThan(right.length);
        },
      ),
    );
  });

  test.each([
    ["short", bytes.subarray(0, 9999), "got 9999 bytes, expected 10000"],
    ["long", Buffer.concat([bytes, Buffer.from("x")]), "more than the 10000 bytes"],
  ])("content that is too %s fails with what it came to", async (_name, content, words) => {
    const error = await failureOf(collect(verified(piecesOf(content, 100), descriptor)));
    expect(error.code).toBe("INTEGRITY");
    expect(error.exitCode).toBe(4);
    expect(error.message).toContain(words);
    expect(error.message).toContain(descriptor.digest);
    expect(error.details).toEqual({ digest: descriptor.digest, size: 10_000 });
  });

  test("an endless stream is left at the first byte too many, and released", async () => {
    let sent = 0;
    let released = false;
    const endless = async function* (): AsyncGenerator<Uint8Array, void> {
      try {
        for (;;) {
          sent += 1000;
          yield bytes.subarray(0, 1000);
        }
      } finally {
        released = true;
      }
    };
    await failureOf(proveContent(endless(), descriptor));
    expect(sent).toBeLessThanOrEqual(11_000);
    expect(released).toBe(true);
  });

  test("leaving early releases what is behind it", async () => {
    let released = false;
    const source = async function* (): AsyncGenerator<Uint8Array, void> {
      try {
        yield* piecesOf(bytes, 100);
      } finally {
        released = true;
      }
    };
    for await (const chunk of verified(source(), descriptor)) {
      expect(chunk).toHaveLength(100);
      break;
    }
    expect(released).toBe(true);
  });
});

describe("readAll", () => {
  test("gives the bytes, also of a stream that lends one buffer again and again", async () => {
    const lent = Buffer.alloc(100);
    const lending = async function* (): AsyncGenerator<Uint8Array, void> {
      for (let at = 0; at < bytes.length; at += 100) {
        bytes.copy(lent, 0, at, at + 100);
        yield lent;
      }
    };
    expect(await readAll(lending(), descriptor, 10_000)).toEqual(bytes);
  });

  test("refuses what is over the limit before a byte is read", async () => {
    let read = false;
    const stream = async function* (): AsyncGenerator<Uint8Array, void> {
      read = true;
      yield bytes;
    };
    const error = await failureOf(readAll(stream(), descriptor, 9999));
    expect(error.code).toBe("INTEGRITY");
    expect(error.message).toContain("at most 9999");
    expect(read).toBe(false);
  });
});

describe("resuming", () => {
  const broken = new AppError("NETWORK", "the connection broke");

  /** A blob whose every opening breaks after so many bytes; 0: at once. */
  function breaking(
    after: number,
    times = Number.POSITIVE_INFINITY,
  ): { readonly blob: BlobSource; readonly offsets: number[] } {
    const offsets: number[] = [];
    const pieces = async function* (offset: number): AsyncGenerator<Uint8Array, void> {
      if (offsets.length > times) return yield* piecesOf(bytes.subarray(offset), 1000);
      if (after > 0) yield bytes.subarray(offset, offset + after);
      throw broken;
    };
    const open = async (offset: number): Promise<AsyncIterable<Uint8Array>> => {
      offsets.push(offset);
      return pieces(offset);
    };
    return { blob: { ...blobSource(bytes), open }, offsets };
  }

  test("goes on at the byte that was reached", async () => {
    const { blob, offsets } = breaking(3000, 2);
    const clock = new FakeClock();
    const told: number[] = [];
    const stream = resuming(blob, { clock, onRetry: (attempt) => told.push(attempt) });
    expect(await collect(stream)).toEqual(bytes);
    expect(offsets).toEqual([0, 3000, 6000]);
    expect(told).toEqual([1, 1]);
    expect(clock.sleeps).toHaveLength(2);
  });

  test("every byte renews the budget", async () => {
    const { blob, offsets } = breaking(500);
    expect(await collect(resuming(blob, { clock: new FakeClock() }))).toEqual(bytes);
    expect(offsets).toHaveLength(20);
  });

  test("without progress it ends after five tries, with the last failure", async () => {
    const { blob, offsets } = breaking(0);
    await expect(collect(resuming(blob, { clock: new FakeClock() }))).rejects.toBe(broken);
    expect(offsets).toEqual([0, 0, 0, 0, 0]);
  });

  test("is not opened again behind its last byte", async () => {
    const { blob, offsets } = breaking(10_000);
    expect(await collect(resuming(blob, { clock: new FakeClock() }))).toEqual(bytes);
    expect(offsets).toEqual([0]);
  });

  test("an end that comes too early is a break", async () => {
    const offsets: number[] = [];
    const open = async (offset: number): Promise<AsyncIterable<Uint8Array>> => {
      offsets.push(offset);
      return piecesOf(bytes.subarray(offset, offset + 4000), 1000);
    };
    expect(await collect(resuming({ ...blobSource(bytes), open }, { clock: new FakeClock() }))).toEqual(
      bytes,
    );
    expect(offsets).toEqual([0, 4000, 8000]);
  });

  test.each(["INTEGRITY", "NOT_FOUND", "AUTH", "DENIED", "REGISTRY", "INTERRUPTED"] as const)(
    "%s is final",
    async (code) => {
      let opens = 0;
      const open = async (): Promise<never> => {
        opens += 1;
        throw new AppError(code, "no");
      };
      expect(
        (await failureOf(collect(resuming({ ...blobSource(bytes), open }, { clock: new FakeClock() })))).code,
      ).toBe(code);
      expect(opens).toBe(1);
    },
  );

  test("an interrupted run is not tried again", async () => {
    const { blob, offsets } = breaking(0);
    const signal = AbortSignal.abort();
    await expect(collect(resuming(blob, { clock: new FakeClock(), signal }))).rejects.toBe(broken);
    expect(offsets).toHaveLength(1);
  });
});
