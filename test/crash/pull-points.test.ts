/** A pull that is killed at the named points of its journal: the same bundle in the end. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { interopTools } from "../interop/support/tools.ts";
import { makeContent } from "./support/content.ts";
import { type Place, startPlace } from "./support/place.ts";
import {
  killAtEveryPoint,
  movedScenario,
  plainScenario,
  type Scenario,
  shrinkScenario,
} from "./support/points.ts";

/** Many runs of the program, on a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const tools = await interopTools();
const size = 8_000_000;
const images = await makeContent(size);

describe.skipIf(tools === undefined)("a pull that is killed at named points ends with the same bytes", () => {
  let place: Place;

  beforeAll(async () => {
    // At full speed all of it would be on its way before the first of it is noted.
    place = await startPlace({ program: tools?.dockerRegistry ?? "", images, rate: 20_000_000 });
  });
  afterAll(async () => await place[Symbol.asyncDispose]());

  const expectReached = async (scenario: Scenario, chained: boolean): Promise<void> => {
    const places = await killAtEveryPoint(scenario, { chained, middle: false });
    const names = new Set(places.map((each) => each.split("#")[0]));
    expect([...names]).toEqual(expect.arrayContaining([...scenario.reached]));
  };

  test("from the first byte on", async () => {
    await expectReached(await plainScenario(place, images), true);
  });

  test("while an image that failed is taken out", async () => {
    await expectReached(await shrinkScenario(place, images), false);
  });

  test("after a tag has moved", async () => {
    await expectReached(await movedScenario(place, { images, size }), false);
  });
});
