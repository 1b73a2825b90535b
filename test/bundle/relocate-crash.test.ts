import { readFile, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Layout } from "../../src/bundle/layout.ts";
import { type Bundles, expectMoved, scenarios, setUp } from "./relocate-scenarios.ts";
import { bytesOf, Crash, type Part } from "./relocate-support.ts";

describe("moves that the end of the program cuts off lose nothing", () => {
  test("at any moment, even if the next run is cut off too and wants a third layout", async () => {
    const seen = { crashes: 0, inMove: 0, inRecovery: 0, saved: 0 };
    await fc.assert(
      fc.asyncProperty(
        scenarios(5, 40_000, false),
        fc.record({
          first: fc.nat({ max: 20 }),
          again: fc.nat({ max: 40 }),
          torn: fc.boolean(),
          another: fc.boolean(),
        }),
        async (scenario, { first, ...choice }) => {
          const bundles = await setUp(scenario);
          const moments = await momentsOf(bundles);
          // Some twelve of them; all would take too long.
          for (let moment = first; moment < moments; moment += Math.ceil(moments / 12))
            await cutOff(bundles, { ...choice, moment }, seen);
        },
      ),
      { numRuns: 40 },
    );
    expect(seen.crashes).toBeGreaterThan(100);
  });

  test.each([
    ["to the left", [0, 1, 2, 3], [0, 1, 2, 3], 2500, 900, true],
    ["to the right", [0, 1, 2, 3], [0, 1, 2, 3], 900, 2500, true],
    ["to both sides", [0, 1, 2, 3], [1, 4, 2, 3], 900, 1200, true],
    ["into another order", [0, 1, 2, 3], [3, 1, 0, 2], 900, 2000, false],
    ["by more than a piece", [5, 0, 1, 2, 3], [0, 1, 2, 3], 900, 900, false],
  ])("at every moment of a move %s", async (_way, order, next, before, after, saves) => {
    const seen = { crashes: 0, inMove: 0, inRecovery: 0, saved: 0 };
    const bundles = await setUp({
      sizes: [9000, 300, 21_000, 7001, 9500, 4500],
      parts: [100, 100, 70, 100, 100, 100],
      bundles: [
        { order, metadataBytes: before },
        { order: next, metadataBytes: after },
        { order: next, metadataBytes: before + 600 },
      ],
      pieceBytes: 2000,
    });
    const moments = await momentsOf(bundles);
    for (let moment = 0; moment < moments; moment += 1)
      await cutOff(bundles, { moment, again: moment % 7, torn: true, another: moment % 2 === 0 }, seen);
    expect(seen.crashes).toBe(moments);
    expect(Math.min(seen.inMove, seen.inRecovery)).toBeGreaterThan(5);
    expect(seen.saved > 0).toBe(saves);
  });
});

interface CutOff {
  /** The moment at which the first run ends, and that of the second. */
  readonly moment: number;
  readonly again: number;
  /** The spill file was being written. */
  readonly torn: boolean;
  /** The runs after the first want the third layout. */
  readonly another: boolean;
}

/** At how many moments a move from the first to the second layout can end. */
async function momentsOf({ makePart, to }: Bundles): Promise<number> {
  await using part = await makePart();
  const crash = new Crash(1e9);
  part.log.crash = crash;
  await part.relocate(to);
  return 1e9 - crash.left;
}

/** Moves, ends, goes on, ends, goes on, and looks. */
async function cutOff(
  { makePart, to, third, contents }: Bundles,
  { moment, again, torn, another }: CutOff,
  seen: { crashes: number; inMove: number; inRecovery: number; saved: number },
): Promise<void> {
  await using part = await makePart();
  const { log } = part;
  const endsAt = async (moments: number, layout: Layout): Promise<boolean> => {
    log.crash = new Crash(moments);
    return await part.relocate(layout).then(
      () => false,
      (error: unknown) => {
        if (!log.crash.ended(error)) throw error;
        return true;
      },
    );
  };
  if (await endsAt(moment, to)) seen.crashes += 1;
  if (log.pending !== undefined) seen.inMove += 1;
  if (log.savedOnly) seen.saved += 1;
  if (torn) await tearSpill(part);
  const next = another ? third : to;
  if (await endsAt(again, next)) seen.inRecovery += 1;
  log.crash = new Crash();
  // What the second layout had no place for may have been overwritten.
  const kept = contents.filter(({ claim }) => to.blobs.has(claim.digest));
  const found = [...(await part.relocate(next))].filter(([digest]) => to.blobs.has(digest));
  await expectMoved(part, kept, next, new Map(found));
}

/**
 * What the program does to the spill file when it ends while it saves a piece there: the step of that piece is not
 * noted yet, so the one before was written.
 */
async function tearSpill({ log, spillPath }: Part): Promise<void> {
  if (!log.savedOnly || bytesOf(spillPath) === 0) return;
  const bytes = await readFile(spillPath);
  bytes.fill(0, bytes.byteLength >> 1);
  await writeFile(spillPath, bytes);
}
