import fc from "fast-check";
import { expect, test } from "vitest";
import { type BlobSize, type BundleContents, blobPath, layOut } from "../../src/bundle/layout.ts";
import { endBytes, paddingOf } from "../../src/bundle/tar-header.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";

const nothing: BundleContents = { manifests: [], configs: [], layers: [] };
const blob = (name: string, size: number, algorithm: "sha256" | "sha512" = "sha256"): BlobSize => ({
  digest: digestOf(Buffer.from(name), algorithm),
  size,
});

const someBlobs = fc.array(
  fc.record({
    digest: fc
      .tuple(fc.constantFrom("sha256" as const, "sha512" as const), fc.nat({ max: 30 }))
      .map(([algorithm, name]) => digestOf(Buffer.from(`${name}`), algorithm)),
    // Small, around a block, and beyond what eleven octal digits hold.
    size: fc.oneof(fc.nat({ max: 2000 }), fc.constantFrom(0, 512, 1024), fc.nat({ max: 2 ** 40 })),
  }),
  { maxLength: 12 },
);
const someContents = fc.record({ manifests: someBlobs, configs: someBlobs, layers: someBlobs });
const someMetadata = fc.uniqueArray(
  fc.record({
    path: fc.constantFrom("oci-layout", "index.json", "manifest.json", "mirror.json"),
    bytes: fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)),
  }),
  { selector: ({ path }) => path },
);

test("entries follow one another on block boundaries without gap or overlap, and the end marker ends it", async () => {
  await fc.assert(
    fc.asyncProperty(someMetadata, someContents, async (metadata, contents) => {
      const layout = await layOut(metadata, contents);
      let offset = 0;
      for (const entry of [...layout.metadata, ...layout.blobs.values()]) {
        expect(entry.headerOffset).toBe(offset);
        expect(entry.header.byteLength % 512).toBe(0);
        expect(entry.contentOffset).toBe(offset + entry.header.byteLength);
        offset = entry.contentOffset + entry.size + paddingOf(entry.size);
        expect(offset % 512).toBe(0);
      }
      expect(layout.totalBytes).toBe(offset + endBytes);
    }),
  );
});

test("every name is there once, where its first mention puts it", async () => {
  await fc.assert(
    fc.asyncProperty(someMetadata, someContents, async (metadata, contents) => {
      const layout = await layOut(metadata, contents);
      const expected = new Set(
        [...contents.manifests, ...contents.configs, ...contents.layers].map(({ digest }) => digest),
      );
      expect([...layout.blobs.keys()]).toEqual([...expected]);
      expect([...layout.blobs.values()].map(({ path }) => path)).toEqual([...expected].map(blobPath));
    }),
  );
});

test("metadata comes first, then manifests, configs and layers", async () => {
  const contents = {
    manifests: [blob("m", 3)],
    configs: [blob("c", 2)],
    layers: [blob("l", 1), blob("L", 4)],
  };
  const metadata = [
    { path: "oci-layout", bytes: Buffer.from("{}") },
    { path: "mirror.json", bytes: Buffer.alloc(513) },
  ];
  const layout = await layOut(metadata, contents);
  const paths = [...layout.metadata, ...layout.blobs.values()].map(({ path }) => path);
  const names = ["m", "c", "l", "L"].map((name) => blobPath(blob(name, 0).digest));
  expect(paths).toEqual(["oci-layout", "mirror.json", ...names]);
});

test("a blob of 10 TiB moves what follows it by 10 TiB", async () => {
  const size = 10 * 1024 ** 4 + 1;
  const layout = await layOut([], { ...nothing, layers: [blob("huge", size), blob("small", 1)] });
  const [huge, small] = [...layout.blobs.values()];
  expect(small?.headerOffset).toBe((huge?.contentOffset ?? 0) + size + 511);
  expect(huge?.header).toHaveLength(512);
});

test("the path of a blob names its algorithm", () => {
  expect(blobPath(`sha512:${"0f".repeat(64)}` as Digest)).toBe(`blobs/sha512/${"0f".repeat(64)}`);
});

test("the id is that of the plan: any other content, size, order or metadata has another one", async () => {
  const metadata = [{ path: "mirror.json", bytes: Buffer.from("a") }];
  const base = { ...nothing, layers: [blob("a", 1), blob("b", 2)] };
  const id = async (files: typeof metadata, contents: BundleContents): Promise<string> =>
    (await layOut(files, contents)).id;
  const first = await id(metadata, base);
  expect(await id(metadata, { ...base })).toBe(first);
  const others = await Promise.all([
    id([{ path: "mirror.json", bytes: Buffer.from("b") }], base),
    id(metadata, { ...base, layers: [blob("b", 2), blob("a", 1)] }),
    id(metadata, { ...base, layers: [blob("a", 1), blob("b", 3)] }),
    id(metadata, { ...base, layers: [blob("a", 1)] }),
  ]);
  expect(new Set([first, ...others]).size).toBe(5);
});
