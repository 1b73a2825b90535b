/** Bundles through pipes, as users write them: nothing is ever a file, and what comes out is what the file would be. */
import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { blobOf, makeLayer, randomBytesOf, type TestLayer } from "../support/layers.ts";
import { runPipe } from "../support/shell.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const MiB = 1024 * 1024;

let folder: TempDir;
let source: TestRegistry;
let target: TestRegistry;
let web: TestIndex;
let api: TestImage;
let big: TestImage;
let bundle: Buffer;
let images: string;

/** A layer that does not fit into the memory of a pipe, or does not go in one request. */
function bigLayer(name: string, size: number): TestLayer {
  const blob = blobOf(randomBytesOf(name, size), mediaTypes.ociLayer);
  return { ...blob, diffId: blob.descriptor.digest } as TestLayer;
}

beforeAll(async () => {
  folder = await tempDir();
  source = await startRegistry();
  const base = await makeLayer({ base: "shared" });
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "web", layers: [base, 2000, 700_000] }),
    ),
  );
  web = makeIndex(children, { attestations: true });
  api = await makeImage({ seed: "api", layers: [base, 3000] });
  big = await makeImage({
    seed: "big",
    layers: [base, bigLayer("one", 70 * MiB), bigLayer("two", 20 * MiB)],
  });
  seed(source, "team/web", "1.0", web);
  seed(source, "team/api", "2.0", api);
  seed(source, "team/big", "3.0", big);
  images = ["web:1.0", "api:2.0", "big:3.0"].map((name) => `${source.host}/team/${name}`).join(" ");
  const pulled = await runMirror(["pull", ...images.split(" "), "--to", "file.tar"], { cwd: folder.path });
  expect(pulled.code, pulled.stderr).toBe(0);
  bundle = await readFile(folder.join("file.tar"));
});
beforeEach(async () => {
  await target?.[Symbol.asyncDispose]();
  target = await startRegistry();
  source.clearFaults();
});
afterAll(async () => {
  await Promise.all([source, target, folder].map((each) => each[Symbol.asyncDispose]()));
});

function expectAll(): void {
  expect(incompleteTags(target)).toEqual([]);
  expect(target.manifest("team/web", "1.0")?.bytes.equals(web.manifest)).toBe(true);
  expect(target.manifest("team/api", "2.0")?.bytes.equals(api.manifest)).toBe(true);
  expect(target.manifest("team/big", "3.0")?.bytes.equals(big.manifest)).toBe(true);
}

describe("pull --to -", () => {
  test("writes the bytes that the file would have, and nothing else anywhere", async () => {
    await using empty = await tempDir();
    const result = await runPipe(`mirror pull ${images} --to -`, { cwd: empty.path });
    expect(result.codes, result.stderr).toEqual([0]);
    expect(result.stdout.equals(bundle)).toBe(true);
    expect(result.stderr).toContain("pulled 3 images");
    expect(await readdir(empty.path)).toEqual([]);
  });
});

describe("push -", () => {
  test("brings a bundle from a pipe into a registry", async () => {
    const line = `mirror pull ${images} --to - | mirror push - --registry ${target.host}`;
    const result = await runPipe(line, { cwd: folder.path });
    expect(result.codes, result.stderr).toEqual([0, 0]);
    expectAll();
  });
});
