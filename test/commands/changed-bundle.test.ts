/** A bundle that changes, shrinks or is replaced while it is pushed: what is told, and what is left at the target. */
import { copyFile, open, readFile, rename, stat, truncate } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BundleReader } from "../../src/bundle/reader.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror, startMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
/** The second one has the smaller layer, which comes last. */
let images: readonly TestImage[];
let whole: string;
let layerAt: number;

beforeAll(async () => {
  folder = await tempDir();
  await using source = await startRegistry();
  images = [
    await makeImage({ seed: "one", layers: [900_000] }),
    await makeImage({ seed: "two", layers: [800_000] }),
  ];
  for (const [index, image] of images.entries()) seed(source, `team/app-${index}`, "1.0", image);
  whole = folder.join("whole.tar");
  const names = images.map((_, index) => `${source.host}/team/app-${index}:1.0`);
  expect((await runMirror(["pull", ...names, "--to", whole])).code).toBe(0);
  layerAt = (await readFile(whole)).indexOf(images[1]?.layers[0]?.bytes ?? "none");
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** Pushes a copy of the bundle; `change` comes while the first layer is under way. */
async function pushed(target: TestRegistry, path: string, change: () => Promise<void>): Promise<RunResult> {
  await copyFile(whole, path);
  const { promise: changed, resolve: go } = Promise.withResolvers<undefined>();
  const asked = new Promise<void>((resolve) => {
    target.customFault("answered later", {
      methods: ["POST"],
      path: /\/team\/app-0\/blobs\/uploads\//,
      intercept: async () => {
        resolve();
        return await changed;
      },
    });
  });
  await using running = await startMirror(["push", path, "--registry", target.host, "--concurrency", "1"]);
  await asked;
  await change();
  go(undefined);
  return await running.result;
}

test.each([
  ["overwritten", async (path: string) => await overwrite(path), /it changed while it was read$/m],
  [
    "cut off",
    async (path: string) => await truncate(path, layerAt + 1000),
    /it changed while it was read: it was \d+ bytes, and \d+ bytes are there now$/m,
  ],
])("one that is %s ends the push with one error that names it", async (name, change, message) => {
  await using target = await startRegistry();
  const path = folder.join(`${name}.tar`);
  const { code, stderr } = await pushed(target, path, async () => await change(path));
  expect(code, stderr).toBe(1);
  expect(stderr).toContain(`Error: Cannot read ${path}: it changed while it was read`);
  expect(stderr).toMatch(message);
  expect(stderr).toContain(
    "  hint: wait until nobody writes to it any more, then run the same command again\n",
  );
  expect(stderr).not.toMatch(/^failed/m);
  expect([target.tags("team/app-1"), incompleteTags(target)]).toEqual([[], []]);
});

test("one that another takes the place of is pushed as it was", async () => {
  await using target = await startRegistry();
  const path = folder.join("replaced.tar");
  const { code, stderr } = await pushed(target, path, async () => {
    const other = folder.join("other.tar");
    await copyFile(whole, other);
    await truncate(other, 1000);
    await rename(other, path);
  });
  expect(code, stderr).toBe(0);
  expect([target.tags("team/app-1"), incompleteTags(target)]).toEqual([["1.0"], []]);
});

test("a reader tells a change from damage", async () => {
  const path = folder.join("read.tar");
  await copyFile(whole, path);
  await using before = await BundleReader.open(path);
  await before.refuseChanged();
  await overwrite(path);
  await expect(before.refuseChanged()).rejects.toMatchObject({ code: "DISK" });
  // Whoever opens it now has a damaged bundle.
  await using after = await BundleReader.open(path);
  await after.refuseChanged();
  const verified = await runMirror(["verify", path]);
  expect([verified.code, verified.stderr]).toEqual([4, expect.stringContaining("is damaged")]);
});

async function overwrite(path: string): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(800_000, 7), 0, 800_000, layerAt);
  await file.close();
  expect((await stat(path)).size).toBe((await stat(whole)).size);
}
