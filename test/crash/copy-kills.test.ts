/** A push and a sync that are killed at random moments, again and again: all is there in the end, and sent once. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { listOf, upload } from "../interop/support/corpus.ts";
import { interopTools } from "../interop/support/tools.ts";
import { makeImage } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { bytesOf, makeContent } from "./support/content.ts";
import { expectEnd, type Place, startPlace } from "./support/place.ts";
import { momentsOf, randomOf } from "./support/random.ts";
import { completeImages, copyWithKills, startTarget, type TargetPlace } from "./support/target.ts";
import { type Attempt, runUntilPoint } from "./support/victim.ts";

/** Many runs of the program, on a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

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

  const expectAllThere = async (target: TargetPlace, attempt: Attempt): Promise<void> => {
    expect(await completeImages(target, images)).toEqual(images);
    const verify = ["verify", bundle, "--registry", target.registry.host];
    await expectEnd({ ...attempt, args: verify }, "verify");
  };

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
      await expectAllThere(target, attempt);
    },
  );

  /** A sync whose uploads go in chunks of a mebibyte. */
  const chunkedSync = async (name: string, target: TargetPlace): Promise<Attempt> => {
    const cwd = await source.work(name, images);
    const list = `registries:\n  "${target.relay.host}": {chunkSize: 1MiB}\n${listOf(source.relay.host, images)}`;
    await writeFile(`${cwd}/manifests.yaml`, list);
    return {
      args: ["sync", "--registry", target.relay.host, "--concurrency", "2"],
      cwd,
      relay: target.relay,
    };
  };

  test("a sync that is killed at the named points of its uploads is complete in the end", async () => {
    await using target = await startTarget(program, rate);
    const attempt = await chunkedSync("points", target);
    const numbers = ["noted#1", "taken#1", "stored#1", "taken#1", "noted#3", "taken#2", "stored#3"];
    const moments = numbers.map((each) => ({ point: `upload:${each}` }));
    const copied = await copyWithKills(attempt, target, { images, moments });
    expect(copied).toMatchObject({ again: 0 });
    expect(copied.kills).toBeGreaterThanOrEqual(5);
    await expectAllThere(target, attempt);
  });

  test("what a run had stored when it was killed is mounted by later ones, not sent again", async () => {
    await using target = await startTarget(program);
    const shared = await makeRandomLayer("stored", 300_000);
    const made = async (name: string) => ({
      repository: `team/${name}`,
      tag: "1.0",
      content: await makeImage({ seed: name, layers: [shared] }),
    });
    const [one, other] = [await made("one"), await made("other")];
    await upload(source.registry.url, [one, other]);
    const cwd = await source.work("stored", []);
    const sync = ({ repository, tag }: typeof one): Attempt => ({
      args: [
        "sync",
        `${source.relay.host}/${repository}:${tag}`,
        "--registry",
        target.relay.host,
        "--concurrency",
        "1",
      ],
      cwd,
      relay: target.relay,
    });
    expect((await runUntilPoint(sync(one), "upload:stored#1")).kill).toBeDefined();
    await expectEnd(sync(one), "one");
    await expectEnd(sync(other), "other");
    expect(target.relay.sentOf(shared.descriptor.digest)).toBe(shared.bytes.length);
  });
});
