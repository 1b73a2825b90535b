/** A push and a sync that are killed at random moments, again and again: all is there in the end, and sent once. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { interopTools } from "../interop/support/tools.ts";
import { bytesOf, makeContent } from "./support/content.ts";
import { expectEnd, type Place, startPlace } from "./support/place.ts";
import { momentsOf, randomOf } from "./support/random.ts";
import { completeImages, copyWithKills, startTarget } from "./support/target.ts";
import type { Attempt } from "./support/victim.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";
const images = await makeContent(30_000_000);
const [kills, rate] = [4, 60_000_000];

describe.skipIf(tools === undefined)("killed at random", () => {
  let source: Place;
  let bundle: string;

  beforeAll(async () => {
    source = await startPlace({ program, images });
    const cwd = await source.work("pulled", images);
    await expectEnd(source.pull(cwd), "pull");
    bundle = `${cwd}/bundle.tar`;
  });
  afterAll(async () => await source[Symbol.asyncDispose]());

  test.each([
    ["push", 1],
    ["sync", 2],
  ] as const)(
    "a %s leaves nothing incomplete, and sends no complete image again (seed %i)",
    async (verb, seed) => {
      await using target = await startTarget(program, rate);
      const cwd = await source.work(verb, images);
      const from = verb === "push" ? [bundle] : [];
      const to = ["--registry", target.relay.host, "--concurrency", "2"];
      const attempt: Attempt = { args: [verb, ...from, ...to], cwd, relay: target.relay };
      // The largest blobs go first, so images are complete only towards the end: the last kills come between tags.
      const places = momentsOf(randomOf(seed), kills, await bytesOf(bundle));
      const moments = [...places.map((bytes) => ({ bytes })), { tags: 1 }, { tags: 2 }];
      const copied = await copyWithKills(attempt, target, { images, moments });
      expect(copied, `seed ${seed}`).toMatchObject({ kills: moments.length, again: 0 });
      expect(copied.complete, `seed ${seed}: no image was complete at any kill`).toBeGreaterThan(0);
      expect(await completeImages(target, images)).toEqual(images);
      const verify = ["verify", bundle, "--registry", target.registry.host];
      await expectEnd({ args: verify, cwd, relay: target.relay }, `seed ${seed}`);
    },
  );
});
