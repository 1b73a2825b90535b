/** Pulls that are killed at every named point that they reach. */
import { rm } from "node:fs/promises";
import { expect } from "vitest";
import { type CorpusImage, upload } from "../../interop/support/corpus.ts";
import type { DockerRegistry } from "../../interop/support/docker-registry.ts";
import { makeImage } from "../../support/images.ts";
import { bytesOf, makeMoved } from "./content.ts";
import { copyLeftovers, expectEnd, expectSameBytes, type Place } from "./place.ts";
import { expectThrift } from "./thrift.ts";
import { type Attempt, type Kill, placesOf, pointsOf, runUntil, runUntilPoint } from "./victim.ts";

/** A pull, from what it begins with to what has to come out. */
export interface Scenario {
  readonly name: string;
  readonly place: Place;
  readonly list: readonly CorpusImage[];
  readonly flags: readonly string[];
  /** The folder whose leftovers it begins with. */
  readonly from?: string;
  /** A bundle as it comes out when nothing kills the pull. */
  readonly undisturbed: string;
  /** Exit code of the run that ends it. */
  readonly code: number;
  /** Which points are of interest, and which must be reached. */
  readonly names: RegExp;
  readonly reached: readonly string[];
}

/** An undisturbed pull of the list, for {@link Scenario.undisturbed}. */
async function pullUndisturbed({
  name,
  place,
  list,
  flags,
  code,
}: Omit<Scenario, "undisturbed" | "names" | "reached">): Promise<string> {
  const cwd = await place.work(`${name}-undisturbed`, list);
  await expectEnd(place.pull(cwd, ...flags), `${name}, undisturbed`, code);
  return `${cwd}/bundle.tar`;
}

/** A pull into an empty folder. */
export async function plainScenario(place: Place, list: readonly CorpusImage[]): Promise<Scenario> {
  const base = { name: "plain", place, list, flags: [], code: 0 };
  const undisturbed = await pullUndisturbed(base);
  const reached = [
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
  return { ...base, undisturbed, names: /^/, reached };
}

/** A pull with an image that fails, so that all the others move to the front in the end. */
export async function shrinkScenario(place: Place, images: readonly CorpusImage[]): Promise<Scenario> {
  const content = await makeImage({ seed: "crash/lost", layers: [600_000] });
  await upload(place.registry.url, [{ repository: "team/lost", tag: "1.0", content }]);
  await loseBlob(place.registry, content.layers[0]?.descriptor.digest ?? "");
  const list = [{ repository: "team/lost", tag: "1.0", content }, ...images];
  const base = { name: "shrink", place, list, flags: ["--keep-going"], code: 3 };
  const undisturbed = await pullUndisturbed(base);
  return {
    ...base,
    undisturbed,
    names: /^move:/,
    reached: ["move:noted", "move:done"],
  };
}

/** A pull that goes on from the half of another one, after a tag has moved. It moves for good. */
export async function movedScenario(
  place: Place,
  { images, size }: { images: readonly CorpusImage[]; size: number },
): Promise<Scenario> {
  const from = await place.work("moved-half", images);
  // One blob at a time: the largest one is there for sure, and noted.
  const { kill } = await runUntil(place.pull(from, "--concurrency", "1"), {
    bytes: place.relay.line.total + size * 0.7,
  });
  expect(kill).toBeDefined();
  await upload(place.registry.url, [await makeMoved(size)]);
  const base = { name: "moved", place, list: images, flags: [], code: 0, from };
  const undisturbed = await pullUndisturbed(base);
  return {
    ...base,
    undisturbed,
    names: /^move:/,
    reached: ["move:piece-saved", "move:noted", "move:piece-written", "move:done"],
  };
}

/** Takes a blob out of a registry's storage; its manifest stays. */
async function loseBlob({ dir }: DockerRegistry, digest: string): Promise<void> {
  const hex = digest.slice("sha256:".length);
  await rm(`${dir}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`, { recursive: true });
}

/**
 * Kills a pull at each point that it reaches, the first and the last time; with `middle`, also in between. With
 * `chained`, one and the same pull is killed at one after the other for as long as it has something to do (points of
 * what is done by then do not come any more); otherwise each kill has a pull of its own. Gives the places of the kills.
 */
export async function killAtEveryPoint(
  scenario: Scenario,
  { chained, middle }: { readonly chained: boolean; readonly middle: boolean },
): Promise<readonly string[]> {
  const { name, place, flags, code, names } = scenario;
  const observed = await pointsOf(place.pull(await begin(scenario, `${name}-observed`), ...flags));
  expect(observed.result.code, observed.result.stderr).toBe(code);
  const places = placesOf(observed.points, { middle }).filter((point) => names.test(point));
  const killed: string[] = [];
  let pull: Attempt | undefined;
  let [kills, chain]: [Kill[], string[]] = [[], []];
  const finish = async (attempt: Attempt): Promise<void> => {
    const message = `${name}, killed at ${chain.join(", ")}`;
    await expectEnd(attempt, message, code);
    await expectSameBytes(`${attempt.cwd}/bundle.tar`, scenario.undisturbed, message);
    expectThrift(place.relay, await bytesOf(scenario.undisturbed), kills, message);
    await rm(attempt.cwd, { recursive: true });
    [pull, kills, chain] = [undefined, [], []];
  };
  for (const point of places) {
    if (pull === undefined) {
      pull = place.pull(await begin(scenario, `${name}-${point.replace(/\W/g, "-")}`), ...flags);
      place.relay.forget();
    }
    const { kill, result } = await runUntilPoint(pull, point);
    chain.push(point);
    if (kill === undefined) {
      // What is done is done: the rest has no such point any more.
      expect(result.code, `${chain.join(", ")}: ${result.stderr}`).toBe(code);
    } else {
      kills.push(kill);
      killed.push(point);
    }
    if (kill === undefined || !chained || point.startsWith("commit:")) await finish(pull);
  }
  if (pull !== undefined) await finish(pull);
  return killed;
}

async function begin({ place, list, from }: Scenario, folder: string): Promise<string> {
  const cwd = await place.work(folder, list);
  if (from !== undefined) await copyLeftovers(from, cwd);
  return cwd;
}
