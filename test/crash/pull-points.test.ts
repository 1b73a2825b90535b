/** A pull that is killed at every named point of its journal: the same bundle in the end. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CorpusImage, upload } from "../interop/support/corpus.ts";
import type { DockerRegistry } from "../interop/support/docker-registry.ts";
import { interopTools } from "../interop/support/tools.ts";
import { makeImage, type TestImage } from "../support/images.ts";
import { bytesOf, makeContent, makeMoved } from "./support/content.ts";
import { copyLeftovers, expectEnd, expectSameBytes, type Place, startPlace } from "./support/place.ts";
import { expectThrift } from "./support/thrift.ts";
import { placesOf, pointsOf, runUntil, runUntilPoint } from "./support/victim.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";
const size = 10_000_000;
const images = await makeContent(size);

/** The points of every pull. */
const everyPull = [
  "lock:taken",
  "part:created",
  "journal:started",
  "journal:before-append",
  "journal:appended",
  "blob:begun",
  "blob:written",
  "commit:synced",
  "commit:renamed",
  "commit:journal-removed",
];

interface Scenario {
  readonly place: Place;
  readonly list: readonly CorpusImage[];
  /** The folder whose leftovers each pull begins with. */
  readonly from?: string;
  /** A bundle as it comes out when nothing kills the pull. */
  readonly undisturbed: string;
  readonly flags?: readonly string[];
  /** Exit code of the run that ends it. */
  readonly code?: number;
  /** Which points are of interest. */
  readonly names?: RegExp;
}

/** Kills a pull at each point that it reaches, and lets the next one end it. Gives the places of the kills. */
async function killAtEveryPoint(name: string, scenario: Scenario): Promise<readonly string[]> {
  const { place, list, from, undisturbed, flags = [], code = 0, names = /^/ } = scenario;
  const begin = async (folder: string): Promise<string> => {
    const cwd = await place.work(folder, list);
    if (from !== undefined) await copyLeftovers(from, cwd);
    return cwd;
  };
  const observed = await pointsOf(place.pull(await begin(`${name}-observed`), ...flags));
  expect(observed.result.code, observed.result.stderr).toBe(code);
  const places = placesOf(observed.points).filter((point) => names.test(point));
  const killed: string[] = [];
  for (const point of places) {
    const cwd = await begin(`${name}-${point.replace(/\W/g, "-")}`);
    const pull = place.pull(cwd, ...flags);
    place.relay.forget();
    const { kill, result } = await runUntilPoint(pull, point);
    // How often some of them come depends on what arrives together.
    if (kill === undefined) expect(result.code, `${point}: ${result.stderr}`).toBe(code);
    else killed.push(point);
    await expectEnd(pull, point, code);
    await expectSameBytes(`${cwd}/bundle.tar`, undisturbed, point);
    const kills = kill === undefined ? [] : [kill];
    expectThrift(place.relay, await bytesOf(undisturbed), kills, point);
    await rm(cwd, { recursive: true });
  }
  return killed;
}

/** An image whose config comes, and whose layer does not. */
function makeLost(): Promise<TestImage> {
  return makeImage({ seed: "crash/lost", layers: [600_000] });
}

/** Takes a blob out of a registry's storage; its manifest stays. */
async function loseBlob({ dir }: DockerRegistry, digest: string): Promise<void> {
  const hex = digest.slice("sha256:".length);
  await rm(`${dir}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`, { recursive: true });
}

/** The names of places, without how often. */
const namesOf = (places: readonly string[]): readonly string[] => [
  ...new Set(places.map((place) => place.split("#")[0] ?? "")),
];

describe.skipIf(tools === undefined)("a pull that is killed at a named point", () => {
  let place: Place;

  beforeAll(async () => {
    place = await startPlace({ program, images });
  });
  afterAll(async () => await place[Symbol.asyncDispose]());

  const undisturbed = async (
    list: readonly CorpusImage[],
    code = 0,
    ...flags: readonly string[]
  ): Promise<string> => {
    const cwd = await place.work(`undisturbed-${list[0]?.repository.replace("/", "-")}-${code}`, list);
    await expectEnd(place.pull(cwd, ...flags), "undisturbed", code);
    return `${cwd}/bundle.tar`;
  };

  test("ends with the same bytes", async () => {
    const places = await killAtEveryPoint("plain", {
      place,
      list: images,
      undisturbed: await undisturbed(images),
    });
    expect(namesOf(places)).toEqual(expect.arrayContaining(everyPull));
  });

  test("ends with the same bytes, while an image that failed is taken out", async () => {
    // In front of all others, which have to move.
    const lost = { repository: "team/lost", tag: "1.0", content: await makeLost() };
    await upload(place.registry.url, [lost]);
    await loseBlob(place.registry, lost.content.layers[0]?.descriptor.digest ?? "");
    const [list, flags] = [[lost, ...images], ["--keep-going"]];
    const places = await killAtEveryPoint("shrink", {
      place,
      list,
      flags,
      code: 3,
      names: /^(?:move|journal|commit):/,
      undisturbed: await undisturbed(list, 3, ...flags),
    });
    expect(namesOf(places)).toEqual(expect.arrayContaining(["move:noted", "move:done", "commit:renamed"]));
  });

  test("ends with the same bytes, after a tag has moved", async () => {
    const from = await place.work("half", images);
    const { kill } = await runUntil(place.pull(from), { bytes: place.relay.line.total + size / 2 });
    expect(kill).toBeDefined();
    await upload(place.registry.url, [await makeMoved(size)]);
    const places = await killAtEveryPoint("moved", {
      place,
      list: images,
      from,
      undisturbed: await undisturbed([...images].reverse()),
      names: /^(?:move|journal|commit):/,
    });
    expect(namesOf(places)).toEqual(
      expect.arrayContaining(["move:piece-saved", "move:noted", "move:piece-written", "move:done"]),
    );
  });
});
