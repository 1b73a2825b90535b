import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Claim } from "../../src/bundle/claims.ts";
import type { Layout } from "../../src/bundle/layout.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { tempDir } from "../support/temp.ts";
import { expectMoved, scenarios, setUp } from "./relocate-scenarios.ts";
import { blobsOf, bytesOf, layoutOf, partOf } from "./relocate-support.ts";

describe("moving to another layout", () => {
  test("takes every claim to its place, in whatever order, and touches nothing that is at its place", async () => {
    await fc.assert(
      fc.asyncProperty(scenarios(9, 200_000, false), async (scenario) => {
        const { makePart, to, contents } = await setUp(scenario);
        await using part = await makePart();
        const onMoved: number[] = [];
        const found = await part.relocate(to, { onMoved: (bytes) => onMoved.push(bytes) });
        await expectMoved(part, contents, to, found);
        for (const { claim } of contents) {
          if (to.blobs.get(claim.digest)?.contentOffset !== claim.at) continue;
          const touching = part.written.filter(
            ([from, end]) => from < claim.at + claim.got && end > claim.at,
          );
          expect(touching).toEqual([]);
        }
        expect(onMoved.reduce((a, b) => a + b, 0)).toBe(
          part.written.reduce((sum, [from, end]) => sum + end - from, 0),
        );
      }),
      { numRuns: 80 },
    );
  });

  test("of bundles in the same order takes no more room than the larger one and one piece", async () => {
    await fc.assert(
      fc.asyncProperty(scenarios(9, 200_000, true), async (scenario) => {
        const { makePart, from, to, contents } = await setUp(scenario);
        await using part = await makePart();
        const step = part.log.step.bind(part.log);
        part.log.step = async (noted) => {
          expect(bytesOf(part.spillPath)).toBeLessThanOrEqual(scenario.pieceBytes);
          await step(noted);
        };
        await expectMoved(part, contents, to, await part.relocate(to));
        const { size } = await part.file.stat();
        expect(size).toBe(Math.max(from.totalBytes, to.totalBytes));
      }),
      { numRuns: 40 },
    );
  });
});

/** Claims as a journal may have them that is damaged or not ours. */
const hostileClaims = fc.array(
  fc.record({
    blob: fc.nat({ max: 7 }),
    at: fc.oneof(fc.nat({ max: 60_000 }), fc.constantFrom(0, Number.MAX_SAFE_INTEGER)),
    got: fc.oneof(fc.nat({ max: 20_000 }), fc.constantFrom(1, Number.MAX_SAFE_INTEGER)),
  }),
  { maxLength: 12 },
);

describe("claims that cannot all be true", () => {
  test("never fail: the newest of those that overlap stays, and of the others nothing is left", async () => {
    await fc.assert(
      fc.asyncProperty(
        hostileClaims,
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7]),
        async (claims, order) => {
          const blobs = blobsOf(Array.from({ length: 8 }, (_, at) => 500 + at * 2000));
          const to = await layoutOf(
            order.flatMap((at) => blobs[at] ?? []),
            100,
          );
          const [before = Buffer.alloc(0)] = blobsOf([40_000]);
          const whole: Claim = { digest: digestOf(before), at: 0, got: before.byteLength };
          await using part = await partOf(before.byteLength, [{ claim: whole, bytes: before }], 700);
          part.log.claims.clear();
          for (const { blob, at, got } of claims)
            part.log.note({ digest: digestOf(blobs[blob] ?? before), at, got });
          const kept: Claim[] = [];
          for (const claim of [...part.log.claims.values()].toReversed()) {
            const end = claim.at + claim.got;
            if (claim.got === 0 || end > before.byteLength) continue;
            if (kept.every(({ at, got }) => end <= at || at + got <= claim.at)) kept.push(claim);
          }
          const wanted = kept.filter(({ digest, got }) => got <= (to.blobs.get(digest)?.size ?? 0));
          const contents = wanted.map((claim) => ({
            claim,
            bytes: before.subarray(claim.at, claim.at + claim.got),
          }));
          await expectMoved(part, contents, to, await part.relocate(to));
        },
      ),
      { numRuns: 200 },
    );
  });

  test("of a step that does not fit the file nothing is done, and its claim ends", async () => {
    const [bytes = Buffer.alloc(0)] = blobsOf([9000]);
    const digest = digestOf(bytes);
    const layout = await layoutOf([bytes], 100);
    const step = { digest, from: 512, to: 1024, length: 9000, moved: 0, piece: 1000, hash: digest };
    for (const wrong of [
      { from: Number.MAX_SAFE_INTEGER },
      { to: 90_000 },
      { length: Number.MAX_SAFE_INTEGER },
      { moved: 8500 },
      { piece: Number.MAX_SAFE_INTEGER },
      { hash: "" },
    ]) {
      await using part = await partOf(20_000, [{ claim: { digest, at: 512, got: 9000 }, bytes }], 1000);
      part.log.pending = { ...step, ...wrong };
      expect(await part.relocate(layout)).toEqual(new Map());
      expect(part.log.pending).toBeUndefined();
      expect(part.written).toEqual([]);
    }
  });
});

test("a signal stops between two pieces, and the next run goes on", async () => {
  const [bytes = Buffer.alloc(0)] = blobsOf([50_000]);
  const digest = digestOf(bytes);
  const contents = [{ claim: { digest, at: 1024, got: bytes.byteLength }, bytes }];
  await using part = await partOf(60_000, contents, 4000);
  const to = await layoutOf([bytes], 2000);
  const controller = new AbortController();
  const reason = new Error("enough");
  const moved: number[] = [];
  const onMoved = (piece: number): void => {
    if (moved.push(piece) === 3) controller.abort(reason);
  };
  await expect(part.relocate(to, { signal: controller.signal, onMoved })).rejects.toBe(reason);
  expect(moved).toEqual([4000, 4000, 4000]);
  await expectMoved(part, contents, to, await part.relocate(to, { onMoved: (piece) => moved.push(piece) }));
  // The piece that may not have been written is written again; it was counted already.
  expect(moved.reduce((a, b) => a + b, 0)).toBe(bytes.byteLength);
});

// Mounting needs root.
test.runIf(process.getuid?.() === 0 && process.platform === "linux")(
  "what is in another order is given up if the disk has no room for it, and the rest moves",
  async () => {
    const [small, large, other] = blobsOf([200_000, 300_000, 100_000]) as [Buffer, Buffer, Buffer];
    const from = await layoutOf([small, large, other], 1000);
    const to = await layoutOf([large, small, other], 3000);
    const contents = [small, large, other].map((bytes) => {
      const digest = digestOf(bytes);
      return {
        claim: { digest, at: from.blobs.get(digest)?.contentOffset ?? 0, got: bytes.byteLength },
        bytes,
      };
    });
    await using folder = await tempDir();
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder.path]);
    try {
      await using part = await partOf(from.totalBytes, contents, 64 * 1024, folder.path);
      const kept = contents.filter(({ bytes }) => bytes !== small);
      await expectMoved(part, kept, to, await part.relocate(to));
    } finally {
      execFileSync("umount", [folder.path]);
    }
  },
);

test("a blob of 300 MB goes 512 bytes to the right in flat memory", { timeout: 60_000 }, async () => {
  const block = Buffer.alloc(4 * 1024 * 1024);
  const blocks = 72;
  const digest = digestOf(block);
  const size = blocks * block.byteLength;
  const claim: Claim = { digest, at: 1024, got: size };
  await using part = await partOf(claim.at + size, [], 4 * 1024 * 1024);
  const numbered = (at: number): Buffer => {
    for (let byte = 0; byte < block.byteLength; byte += 4096) block.writeUInt32LE(at + byte, byte);
    return block;
  };
  for (let at = 0; at < size; at += block.byteLength)
    await part.file.write(numbered(at), 0, block.byteLength, 1024 + at);
  part.log.note(claim);
  const to: Layout = {
    metadata: [],
    blobs: new Map([
      [digest, { digest, size, path: "", header: block, headerOffset: 1024, contentOffset: 1536 }],
    ]),
    totalBytes: 1536 + size,
    frontBytes: 0,
    id: "",
  };
  const before = process.memoryUsage().arrayBuffers;
  let peak = 0;
  const onMoved = (): void => {
    peak = Math.max(peak, process.memoryUsage().arrayBuffers);
  };
  const found = await part.relocate(to, { onMoved, pieceBytes: undefined });
  expect(peak - before).toBeLessThan(24 * 1024 * 1024);
  expect(part.log.steps).toBe(blocks);
  expect([...found.values()]).toEqual([{ digest, at: 1536, got: size }]);
  for (let at = 0; at < size; at += block.byteLength) {
    const moved = await part.read({ digest, at: 1536 + at, got: block.byteLength });
    expect(moved.equals(numbered(at))).toBe(true);
  }
});
