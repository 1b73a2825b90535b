/** One flipped bit anywhere in a bundle: found, named, and kept out of the registry. */
import { createHash } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { layOut, type MetadataFile } from "../../src/bundle/layout.ts";
import { BundleReader } from "../../src/bundle/reader.ts";
import { readHeader } from "../../src/bundle/tar-header.ts";
import { isAppError } from "../../src/errors.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Plan } from "../../src/sync/plan.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { incompleteTags, missingParts } from "../support/graph.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { makeLayer } from "../support/layers.ts";
import { copyTo, findProblems, pull, wanted } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

/** A stretch of the bundle in which no bit may change. */
interface Region {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** Undefined for the files in front of the blobs. */
  readonly digest?: Digest;
}

const bitsPerRegion = 4;
let folder: TempDir;
let path: string;
let plan: Plan;
let regions: readonly Region[];

beforeAll(async () => {
  folder = await tempDir();
  path = folder.join("bundle.tar");
  await using source = await startRegistry();
  const base = await makeLayer({ base: "shared by two images" });
  const platforms = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "index", layers: [base, 3000] }),
    ),
  );
  seed(source, "team/index", "1.0", makeIndex(platforms, { attestations: true }));
  // Over the size up to which header and content are read at once.
  seed(source, "team/large", "2.0", await makeImage({ seed: "large", layers: [base, 400_000] }));
  seed(source, "team/alone", "3.0", await makeImage({ seed: "alone" }));
  const images = ["team/index:1.0", "team/large:2.0", "team/alone:3.0"].map((name) => wanted(source, name));
  ({ plan } = await pull(images, path));
  regions = await findRegions(await readFile(path));
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** Headers and contents of every entry: all but padding and end marker. */
async function findRegions(tar: Buffer): Promise<readonly Region[]> {
  await using bundle = await BundleReader.open(path);
  const metadata: MetadataFile[] = [];
  for (let at = 0; metadata.at(-1)?.path !== "mirror.json"; ) {
    const { name = "", size = 0 } = readHeader(tar.subarray(at, at + 512)) ?? {};
    metadata.push({ path: name, bytes: tar.subarray(at + 512, at + 512 + size) });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  const layout = await layOut(metadata, bundle.contents);
  return [...layout.metadata, ...layout.blobs.values()].flatMap((entry) => {
    const digest = "digest" in entry ? { digest: entry.digest } : {};
    const { path: name, headerOffset, contentOffset, size } = entry;
    return [
      { name: `header of ${name}`, start: headerOffset, end: contentOffset, ...digest },
      { name, start: contentOffset, end: contentOffset + size, ...digest },
    ];
  });
}

/** Bits of a region: the first, the last, and some that its name decides. */
function bitsOf({ name, start, end }: Region): readonly number[] {
  const hash = createHash("sha256").update(name).digest();
  const random = Array.from({ length: bitsPerRegion }, (_, at) => hash.readUInt32LE(at * 4));
  const bits = (end - start) * 8;
  return [0, bits - 1, ...random.map((number) => number % bits)].map((bit) => start * 8 + bit);
}

/** Flips a bit of the bundle in place, and flips it back at the end. */
async function flip(bit: number): Promise<AsyncDisposable> {
  const toggle = async (): Promise<void> => {
    const file = await open(path, "r+");
    try {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, bit >> 3);
      byte.writeUInt8(byte.readUInt8() ^ (1 << (bit & 7)));
      await file.write(byte, 0, 1, bit >> 3);
    } finally {
      await file.close();
    }
  };
  await toggle();
  return { [Symbol.asyncDispose]: toggle };
}

const imagesWith = (digest: Digest): readonly string[] =>
  plan.images
    .filter(({ nodes }) => nodes.some(({ descriptor }) => descriptor.digest === digest))
    .map(({ source }) => source)
    .sort();

async function openFailure(): Promise<unknown> {
  return await BundleReader.open(path).then(
    async (bundle) => {
      await bundle[Symbol.asyncDispose]();
      return "opened";
    },
    (error: unknown) => error,
  );
}

test("the regions are the whole bundle but padding and end marker", async () => {
  const { length } = await readFile(path);
  const covered = regions.reduce((sum, { start, end }) => sum + end - start, 0);
  expect(regions.length).toBeGreaterThan(30);
  expect(length - covered).toBeLessThan(1024 + (regions.length / 2) * 512);
});

test("in the front of the bundle it cannot even be opened", async () => {
  for (const region of regions.filter(({ digest }) => digest === undefined)) {
    for (const bit of bitsOf(region)) {
      await using _ = await flip(bit);
      const error = await openFailure();
      expect(isAppError(error, "INTEGRITY"), `bit ${bit} of ${region.name}: ${String(error)}`).toBe(true);
    }
  }
  expect(await openFailure()).toBe("opened");
});

describe("in a manifest, a config or a layer", () => {
  test("verify names the blob and every image that needs it", async () => {
    for (const region of regions) {
      const { digest } = region;
      if (digest === undefined) continue;
      for (const bit of bitsOf(region)) {
        await using _ = await flip(bit);
        await using bundle = await BundleReader.open(path);
        const problems = await findProblems(bundle);
        const what = `bit ${bit} of ${region.name}: ${JSON.stringify(problems)}`;
        expect(problems.length, what).toBeGreaterThan(0);
        expect(
          problems.every(({ message }) => message.includes(digest)),
          what,
        ).toBe(true);
        expect(problems.flatMap(({ images }) => images).sort(), what).toEqual(imagesWith(digest));
      }
    }
  });

  test("push names the blob, leaves no tag on something incomplete, and does all other images", async () => {
    await using target = await startRegistry();
    for (const region of regions) {
      const { digest } = region;
      if (digest === undefined) continue;
      // One of them: each push is a whole one.
      for (const bit of bitsOf(region).slice(2, 3)) {
        await using _ = await flip(bit);
        await using bundle = await BundleReader.open(path);
        const prefix = `bit-${bit}`;
        const { outcomes, failures } = await copyTo(target, bundle, { prefix });
        const failed = [
          ...outcomes.flatMap(({ image, error }) =>
            error === undefined ? [] : { image: image.source, error },
          ),
          ...failures,
        ];
        const what = `bit ${bit} of ${region.name}`;
        expect(failed.map(({ image }) => image).sort(), what).toEqual(imagesWith(digest));
        for (const { error } of failed) {
          expect([error.code, error.exitCode], what).toEqual(["INTEGRITY", 4]);
          expect(error.message, what).toContain(digest);
        }
        for (const { source, target: name } of plan.images) {
          const expected = imagesWith(digest).includes(source);
          const there = target.tags(`${prefix}/${name.repository}`).length > 0;
          expect(there, `${what}: ${source}`).toBe(!expected);
        }
      }
    }
    expect(incompleteTags(target)).toEqual([]);
  });
});

test("without one, all of it arrives", async () => {
  await using target: TestRegistry = await startRegistry();
  await using bundle = await BundleReader.open(path);
  expect(await findProblems(bundle)).toEqual([]);
  const { outcomes } = await copyTo(target, bundle);
  expect(outcomes.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
  for (const { target: name } of plan.images)
    expect(missingParts(target, name.repository, name.tag ?? "")).toEqual([]);
});
