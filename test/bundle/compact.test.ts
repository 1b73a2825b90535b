import { open } from "node:fs/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compact } from "../../src/bundle/compact.ts";
import { type BundleContents, type Layout, layOut } from "../../src/bundle/layout.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { randomBytesOf } from "../support/layers.ts";
import { tempDir } from "../support/temp.ts";

type Blobs = readonly Buffer[];

const sized = (blobs: Blobs) => blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.byteLength }));
const contentsOf = (configs: Blobs, layers: Blobs): BundleContents => ({
  manifests: [],
  configs: sized(configs),
  layers: sized(layers),
});
const metadataOf = (bytes: number) => [{ path: "mirror.json", bytes: randomBytesOf("metadata", bytes) }];

/** The bundle of a layout as it has to be. */
function render(layout: Layout, blobs: Blobs): Buffer {
  const byDigest = new Map<Digest, Buffer>(blobs.map((bytes) => [digestOf(bytes), bytes]));
  const tar = Buffer.alloc(layout.totalBytes);
  for (const { header, headerOffset, contentOffset, bytes } of layout.metadata) {
    header.copy(tar, headerOffset);
    bytes.copy(tar, contentOffset);
  }
  for (const { digest, header, headerOffset, contentOffset } of layout.blobs.values()) {
    header.copy(tar, headerOffset);
    byDigest.get(digest)?.copy(tar, contentOffset);
  }
  return tar;
}

async function compacted(from: Layout, to: Layout, blobs: Blobs, leftOver: number): Promise<Buffer> {
  await using folder = await tempDir();
  const file = await open(folder.join("bundle.part"), "w+");
  try {
    const tar = render(from, blobs);
    // Blobs that never came in full: what is there of them must not show through.
    for (const entry of from.blobs.values())
      if (!to.blobs.has(entry.digest))
        tar.fill(leftOver, entry.headerOffset, entry.contentOffset + entry.size);
    await file.write(tar, 0, tar.byteLength, 0);
    await compact(file, from, to, "bundle.part");
    const { size } = await file.stat();
    const found = Buffer.alloc(size);
    await file.read(found, 0, size, 0);
    return found;
  } finally {
    await file.close();
  }
}

const someSizes = fc.array(fc.oneof(fc.nat({ max: 1500 }), fc.nat({ max: 60_000 })), {
  minLength: 1,
  maxLength: 10,
});

test("what is left is what a smaller bundle would have been from the start", async () => {
  await fc.assert(
    fc.asyncProperty(someSizes, fc.infiniteStream(fc.boolean()), async (sizes, keeps) => {
      const blobs = sizes.map((size, at) => randomBytesOf(`blob ${at}`, size + 1));
      const kept = blobs.filter(() => keeps.next().value);
      const from = await layOut(metadataOf(2000), contentsOf([], blobs));
      const to = await layOut(metadataOf(700), contentsOf([], kept));
      expect((await compacted(from, to, blobs, 0xaa)).equals(render(to, kept))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test("small blobs may come in another order: a config that is only a layer of what is left", async () => {
  await fc.assert(
    fc.asyncProperty(someSizes, fc.nat(), fc.infiniteStream(fc.boolean()), async (sizes, which, keeps) => {
      const layers = sizes.map((size, at) => randomBytesOf(`layer ${at}`, size + 1));
      const config = randomBytesOf("config", 700);
      const kept = layers.filter(() => keeps.next().value);
      kept.splice(which % (kept.length + 1), 0, config);
      const from = await layOut(metadataOf(900), contentsOf([config], layers));
      const to = await layOut(metadataOf(500), contentsOf([], kept));
      const blobs = [config, ...layers];
      expect((await compacted(from, to, blobs, 0x55)).equals(render(to, kept))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test("a blob that the file does not have cannot move", async () => {
  const [a, b] = [randomBytesOf("a", 10), randomBytesOf("b", 10)];
  const from = await layOut([], contentsOf([], [a]));
  const to = await layOut([], contentsOf([], [b]));
  await expect(compacted(from, to, [a], 0)).rejects.toMatchObject({ code: "INTERNAL" });
});
