/** A pull that is killed at random moments, again and again: the same bundle in the end, and hardly a byte twice. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { interopTools } from "../interop/support/tools.ts";
import { bytesOf, makeContent } from "./support/content.ts";
import { expectEnd, expectSameBytes, type Place, startPlace } from "./support/place.ts";
import { momentsOf, randomOf } from "./support/random.ts";
import { expectThrift } from "./support/thrift.ts";
import { type Kill, runUntil } from "./support/victim.ts";

/** Many runs of the program, on a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const tools = await interopTools();
const images = await makeContent(60_000_000);
const kills = 8;

describe.skipIf(tools === undefined)("a pull that is killed at random", () => {
  let place: Place;
  let undisturbed: string;

  beforeAll(async () => {
    place = await startPlace({ program: tools?.dockerRegistry ?? "", images, rate: 60_000_000 });
    const cwd = await place.work("undisturbed", images);
    await expectEnd(place.pull(cwd), "undisturbed");
    undisturbed = `${cwd}/bundle.tar`;
  });
  afterAll(async () => await place[Symbol.asyncDispose]());

  // Two at a time lose little of so small a bundle, and what is fetched twice shows; eight are what users have.
  test.each([
    [1, 2],
    [2, 8],
  ])("ends with the same bytes, fetched once (seed %i, %i at a time)", async (seed, concurrency) => {
    const { relay } = place;
    const cwd = await place.work(`seed-${seed}`, images);
    const pull = place.pull(cwd, "--concurrency", String(concurrency));
    const bundle = await bytesOf(undisturbed);
    relay.forget();
    const begun = relay.line.total;
    const done: Kill[] = [];
    for (const moment of momentsOf(randomOf(seed), kills, bundle)) {
      const { kill, result } = await runUntil(pull, { bytes: begun + moment });
      expect(
        kill,
        `seed ${seed}, killed after ${moment} bytes: ${result.code} ${result.stderr}`,
      ).toBeDefined();
      if (kill !== undefined) done.push(kill);
    }
    await expectEnd(pull, `seed ${seed}`);
    await expectSameBytes(`${cwd}/bundle.tar`, undisturbed, `seed ${seed}`);
    expectThrift(relay, bundle, done, `seed ${seed}`);
  });
});
