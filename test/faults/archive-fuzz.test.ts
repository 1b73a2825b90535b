/** Row 51, by chance: `npm run torture:archives` tries thousands of these. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBundle } from "../../src/bundle/open.ts";
import { tarOf, writeTar } from "../support/archives.ts";
import { honest, hostile, openFromPipe, survive } from "../support/hostile-archives.ts";
import { findProblems } from "../support/pipeline.ts";
import { tempDir } from "../support/temp.ts";

test("row 51: any archive is read or refused, and nothing is left behind", async () => {
  await using folder = await tempDir();
  const bases = await honest();
  await fc.assert(
    fc.asyncProperty(hostile, async (given) => await survive(bases, given, folder)),
    { numRuns: 300 },
  );
}, 60_000);

test("what they are made of is read as it is", async () => {
  await using folder = await tempDir();
  for (const entries of await honest()) {
    await using bundle = await openBundle(await writeTar(folder.join("honest.tar"), entries));
    expect(await findProblems(bundle)).toEqual([]);
    // With nothing kept in memory, manifests and configs are read back too.
    for (const keptBytes of [0, 2500]) {
      await using piped = await openFromPipe(await tarOf(entries), keptBytes);
      expect(await findProblems(piped)).toEqual([]);
      expect(piped.images).toEqual(bundle.images);
    }
  }
});
