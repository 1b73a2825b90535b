/** A registry that drops every connection after a while, over and over (issue 3): the run ends well, and at once. */
import { expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

const megabytes = 4_000_000;
const image = await makeImage({ seed: "dropping", layers: [megabytes, megabytes + 1, megabytes + 2] });
const size = image.layers.reduce((sum, { bytes }) => sum + bytes.length, image.config.bytes.length);

/** A registry whose every answer with a blob breaks off after 20 to 200 KB: 1 to 20 MB, scaled. */
async function dropping(seedNumber: number): Promise<TestRegistry> {
  const registry = await startRegistry();
  seed(registry, "team/app", "1.0", image);
  registry.fault("drop-body-at-random", { min: 20_000, max: 200_000, seed: seedNumber });
  return registry;
}

/** Every byte once, and less than a twentieth of them twice. */
function expectThrift(registry: TestRegistry): void {
  const blobs = registry.requests.filter(({ method, path }) => method === "GET" && /blobs/.test(path));
  const sent = blobs.reduce((sum, { bytesOut }) => sum + bytesOut, 0);
  expect(sent).toBeGreaterThanOrEqual(size);
  expect(sent).toBeLessThan(size * 1.05);
  expect(blobs.length).toBeGreaterThan(60);
}

test.each([1, 2])(
  "a pull from it succeeds, with few words and hardly a byte twice (seed %i)",
  async (number) => {
    await using registry = await dropping(number);
    await using folder = await tempDir();
    const args = ["pull", `${registry.host}/team/app:1.0`, "--to", "bundle.tar"];
    const result = await runMirror(args, { cwd: folder.path });
    expect(result.code, result.stderr).toBe(0);
    expectThrift(registry);
    // The first and the tenth break of each of three blobs.
    expect(result.stderr.match(/^retrying/gm)?.length).toBeLessThanOrEqual(6);
    expect((await runMirror(["verify", "bundle.tar"], { cwd: folder.path })).code).toBe(0);
  },
);

test("a sync from it succeeds, too", async () => {
  await using registry = await dropping(3);
  await using target = await startRegistry();
  const result = await runMirror(["sync", `${registry.host}/team/app:1.0`, "--registry", target.host]);
  expect(result.code, result.stderr).toBe(0);
  expectThrift(registry);
  expect(target.tags("team/app")).toEqual(["1.0"]);
  expect(incompleteTags(target)).toEqual([]);
});
