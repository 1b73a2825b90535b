import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBundle } from "../../../src/bundle/open.ts";
import { type Digest, digestOf, hexOf } from "../../../src/oci/digest.ts";
import { startRegistry } from "../../registry/registry.ts";
import {
  blobEntries,
  dockerSaveEntries,
  type Entry,
  indexEntry,
  layoutEntry,
  ociEntries,
  tarOf,
  writeTar,
} from "../../support/archives.ts";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../../support/images.ts";
import { makeRandomLayer } from "../../support/layers.ts";
import { copyTo, findProblems } from "../../support/pipeline.ts";
import { type TempDir, tempDir } from "../../support/temp.ts";

let folder: TempDir;
let app: TestImage;
let other: TestImage;
let index: TestIndex;
const containerd = "io.containerd.image.name";
const refName = "org.opencontainers.image.ref.name";

beforeAll(async () => {
  folder = await tempDir();
  const shared = await makeRandomLayer("shared", 600_000);
  app = await makeImage({ seed: "app", layers: [shared, 1000, 1_500_000] });
  other = await makeImage({ seed: "other", layers: [shared, 2000] });
  const arm = await makeImage({ seed: "arm", platform: "linux/arm64" });
  index = makeIndex([app, arm], { attestations: true });
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** Pushes an archive and gives the digests behind its tags; every blob has been proved on the way. */
async function pushed(path: string, options: Parameters<typeof openBundle>[1] = {}) {
  await using registry = await startRegistry();
  await using bundle = await openBundle(path, { named: true, ...options });
  expect(await findProblems(bundle)).toEqual([]);
  const run = await copyTo(registry, bundle);
  expect(run.failures).toEqual([]);
  for (const { error } of run.outcomes) expect(error).toBeUndefined();
  return Object.fromEntries(run.outcomes.map(({ image }) => [image.source, image.root.digest]));
}

describe("an OCI archive", () => {
  test("gives its images under the full names of containerd, digests kept", async () => {
    const path = await writeTar(
      folder.join("oci.tar"),
      ociEntries([
        { content: index, annotations: { [containerd]: "docker.io/library/app:1.0", [refName]: "1.0" } },
        { content: other, annotations: { [refName]: "ghcr.io/org/other:2" } },
      ]),
    );
    expect(await pushed(path)).toEqual({
      "docker.io/library/app:1.0": index.descriptor.digest,
      "ghcr.io/org/other:2": other.descriptor.digest,
    });
  });

  test("with tags alone gets its repository from the user", async () => {
    const path = await writeTar(
      folder.join("oras.tar"),
      ociEntries([
        { content: app, annotations: { [refName]: "1.0" } },
        { content: other, annotations: { [refName]: "2.0" } },
      ]),
    );
    await expect(openBundle(path, { named: true })).rejects.toMatchObject({
      code: "USAGE",
      message: `Cannot tell what the images of ${path} are called: it has tags without a repository: 1.0, 2.0`,
      hint: "name their repository: --tag NAME",
    });
    expect(await pushed(path, { tag: "registry.io/team/app" })).toEqual({
      "registry.io/team/app:1.0": app.descriptor.digest,
      "registry.io/team/app:2.0": other.descriptor.digest,
    });
    await expect(openBundle(path, { tag: "team/app:3.0" })).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringContaining("it holds 2 of them: 1.0, 2.0"),
    });
    await using unnamed = await openBundle(path);
    expect(unnamed.images.map(({ source }) => source)).toEqual(["1.0", "2.0"]);
    expect(await findProblems(unnamed)).toEqual([]);
  });

  test("lists parts of an index and signatures without making images of them", async () => {
    const signature = await makeImage({ seed: "signature", subject: app.descriptor });
    const path = await writeTar(
      folder.join("referrers.tar"),
      ociEntries([
        { content: index, annotations: { [refName]: "1.0" } },
        ...index.children.map((content) => ({ content })),
        { content: signature },
      ]),
    );
    expect(await pushed(path, { tag: "team/app" })).toEqual({
      "docker.io/team/app:1.0": index.descriptor.digest,
      [`docker.io/team/app@${signature.descriptor.digest}`]: signature.descriptor.digest,
    });
  });

  test("of hauler puts signatures under the tags of cosign", async () => {
    const signature = await makeImage({ seed: "signature" });
    const named = { [containerd]: "index.docker.io/library/app:1.0", [refName]: "library/app:1.0" };
    const entries = ociEntries([
      { content: app, annotations: { ...named, kind: "dev.hauler/image" } },
      { content: signature, annotations: { ...named, kind: "dev.hauler/sigs" } },
    ]);
    const path = folder.join("haul.tar.zst");
    await writeFile(path, zstdCompressSync(await tarOf(entries)));
    expect(await pushed(path)).toEqual({
      "docker.io/library/app:1.0": app.descriptor.digest,
      [`docker.io/library/app:sha256-${hexOf(app.descriptor.digest)}.sig`]: signature.descriptor.digest,
    });
  });

  test("of Docker 25 gets names from manifest.json where its index has none", async () => {
    const { digest } = app.config.descriptor;
    const list = [{ Config: `blobs/sha256/${hexOf(digest)}`, RepoTags: ["app:1.0"], Layers: [] }];
    const path = await writeTar(folder.join("docker25.tar"), [
      { name: "blobs/", type: "directory" },
      { name: "blobs/sha256/", type: "directory" },
      ...ociEntries([{ content: app }]),
      { name: "manifest.json", content: JSON.stringify(list) },
    ]);
    expect(await pushed(path)).toEqual({ "docker.io/library/app:1.0": app.descriptor.digest });
  });

  test("names content by sha512 too", async () => {
    const layer = { ...(app.layers[0] ?? app.config) };
    const digest = `sha512:${createHash("sha512").update(layer.bytes).digest("hex")}` as Digest;
    const config = app.config.descriptor;
    const manifest = Buffer.from(
      JSON.stringify({ schemaVersion: 2, config, layers: [{ ...layer.descriptor, digest }] }),
    );
    const root = {
      mediaType: app.descriptor.mediaType,
      digest: digestOf(manifest),
      size: manifest.byteLength,
    };
    const entries: Entry[] = [
      layoutEntry,
      indexEntry([{ ...root, annotations: { [refName]: "team/app:512" } }]),
      { name: `blobs/sha256/${hexOf(root.digest)}`, content: manifest },
      { name: `blobs/sha256/${hexOf(config.digest)}`, content: app.config.bytes },
      { name: `blobs/sha512/${hexOf(digest)}`, content: layer.bytes },
    ];
    await using bundle = await openBundle(await writeTar(folder.join("sha512.tar"), entries));
    expect(await findProblems(bundle)).toEqual([]);
    expect(bundle.has(digest)).toBe(true);
  });
});

test("an OCI layout is read as the folder that it is", async () => {
  const path = folder.join("layout");
  for (const { name, content = "" } of ociEntries([{ content: index, annotations: { [refName]: "1.0" } }])) {
    await mkdir(dirname(`${path}/${name}`), { recursive: true });
    await writeFile(`${path}/${name}`, content);
  }
  expect(await pushed(path, { tag: "team/app:9" })).toEqual({
    "docker.io/team/app:9": index.descriptor.digest,
  });
});

/** The manifest that Docker 25 writes for the same image. */
function uncompressed(image: TestImage): { readonly manifest: Buffer; readonly digest: Digest } {
  const layers = image.layers.map(({ bytes }) => {
    const tar = gunzipSync(bytes);
    return {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: digestOf(tar),
      size: tar.byteLength,
    };
  });
  const { digest, size } = image.config.descriptor;
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest, size };
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
  return { manifest, digest: digestOf(manifest) };
}

describe("a docker save of Docker 24", () => {
  const saved = async (): Promise<Buffer> =>
    await tarOf(
      dockerSaveEntries([
        { image: app, tags: ["team/app:1.0", "team/app:latest"] },
        { image: other, tags: ["ghcr.io/org/other:2"] },
      ]),
    );
  const expected = (): Record<string, Digest> => ({
    "docker.io/team/app:1.0": uncompressed(app).digest,
    "docker.io/team/app:latest": uncompressed(app).digest,
    "ghcr.io/org/other:2": uncompressed(other).digest,
  });

  test("is pushed with its layers as they are, and says why the digest is another one", async () => {
    const path = folder.join("saved.tar");
    await writeFile(path, await saved());
    const notes: string[] = [];
    expect(await pushed(path, { onNote: (note) => notes.push(note) })).toEqual(expected());
    expect(notes).toEqual([
      `${path} holds no manifests, so each image gets one over its layers as they are: docker.io/team/app:1.0 is ${uncompressed(app).digest}; Docker shows another digest, since its layers are not compressed as they were in the registry`,
    ]);
  });

  test.each([
    ["gzip", gzipSync],
    ["zstd", zstdCompressSync],
  ] as const)("comes compressed with %s", async (name, compress) => {
    const path = folder.join(`saved.tar.${name}`);
    await writeFile(path, compress(await saved()));
    expect(await pushed(path)).toEqual(expected());
  });

  test("comes in several frames of zstd, with others to be skipped between them", async () => {
    const tar = await saved();
    const skippable = Buffer.from("502a4d180300000078797a", "hex");
    const frames = [0, 1, 2, 3].map((at) =>
      zstdCompressSync(tar.subarray(at * 500_000, at === 3 ? undefined : (at + 1) * 500_000)),
    );
    const path = folder.join("frames.tar.zst");
    await writeFile(path, Buffer.concat([skippable, ...frames.flatMap((frame) => [frame, skippable])]));
    expect(await pushed(path)).toEqual(expected());
  });

  test("without names gets one from the user, if it is one image", async () => {
    const path = await writeTar(folder.join("untagged.tar"), dockerSaveEntries([{ image: app, tags: null }]));
    await expect(openBundle(path, { named: true })).rejects.toMatchObject({
      code: "USAGE",
      hint: "name it: --tag NAME[:TAG]",
    });
    const { digest } = uncompressed(app);
    expect(await pushed(path, { tag: "team/app" })).toEqual({ "docker.io/team/app:latest": digest });
    expect(await pushed(path, { tag: "registry.io/x/y:2" })).toEqual({ "registry.io/x/y:2": digest });
    const two = await writeTar(
      folder.join("two-untagged.tar"),
      dockerSaveEntries([
        { image: app, tags: null },
        { image: other, tags: null },
      ]),
    );
    await expect(openBundle(two, { tag: "team/app:1" })).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringContaining(uncompressed(other).digest.slice(0, 19)),
    });
  });
});

test("crane's tarball, whose layers are compressed, keeps them so", async () => {
  const layers = app.layers.map(({ descriptor }) => `${hexOf(descriptor.digest)}.tar.gz`);
  const config = app.config.descriptor.digest;
  const path = await writeTar(folder.join("crane.tar"), [
    { name: config, content: app.config.bytes },
    ...app.layers.map(({ bytes }, at) => ({ name: layers[at] ?? "", content: bytes })),
    {
      name: "manifest.json",
      content: JSON.stringify([{ Config: config, RepoTags: ["team/app:1"], Layers: layers }]),
    },
  ]);
  await using bundle = await openBundle(path);
  expect(await findProblems(bundle)).toEqual([]);
  for (const { descriptor } of app.layers) expect(bundle.has(descriptor.digest)).toBe(true);
  expect(Object.keys(await pushed(path))).toEqual(["docker.io/team/app:1"]);
});

test("an archive of one image that has a name can be called otherwise", async () => {
  const path = await writeTar(
    folder.join("renamed.tar"),
    ociEntries([{ content: app, annotations: { [containerd]: "docker.io/library/app:1.0" } }]),
  );
  expect(await pushed(path, { tag: "team/other:2" })).toEqual({
    "docker.io/team/other:2": app.descriptor.digest,
  });
});

describe("a sparse archive", () => {
  const sparse = async (name: string): Promise<string> => {
    const [first] = index.children;
    if (first === undefined) throw new Error("an index has children");
    return await writeTar(folder.join(name), [
      layoutEntry,
      indexEntry([{ ...index.descriptor, annotations: { [containerd]: "docker.io/library/app:1.0" } }]),
      ...blobEntries(first),
      ...blobEntries(index).slice(-1),
    ]);
  };

  test("says which platforms it has and which it lacks", async () => {
    await using bundle = await openBundle(await sparse("sparse.tar"));
    await expect(bundle.manifest(index.descriptor.digest)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `Cannot take all of ${index.descriptor.digest} from ${bundle.path}: it is a sparse archive, which holds linux/amd64 and lacks linux/arm64, attestations`,
      hint: expect.stringContaining("--allow-missing"),
    });
  });
});

test("a docker save of Docker 25 says that its digest is one of uncompressed layers", async () => {
  const { manifest, digest } = uncompressed(app);
  const tars = app.layers.map(({ bytes }) => gunzipSync(bytes));
  const blob = (content: Buffer): Entry => ({ name: `blobs/sha256/${hexOf(digestOf(content))}`, content });
  const config = `blobs/sha256/${hexOf(app.config.descriptor.digest)}`;
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const annotations = { [containerd]: "docker.io/team/app:1.0", [refName]: "1.0" };
  const path = await writeTar(folder.join("classic25.tar"), [
    ...[...tars, app.config.bytes, manifest].map(blob),
    indexEntry([{ mediaType, digest, size: manifest.byteLength, annotations }]),
    {
      name: "manifest.json",
      content: JSON.stringify([{ Config: config, RepoTags: ["team/app:1.0"], Layers: [] }]),
    },
    layoutEntry,
  ]);
  const notes: string[] = [];
  expect(await pushed(path, { onNote: (note) => notes.push(note) })).toEqual({
    "docker.io/team/app:1.0": digest,
  });
  expect(notes).toEqual([
    `the layers in ${path} are not compressed, as docker save writes them: docker.io/team/app:1.0 is ${digest} here, and another digest in the registry that it came from`,
  ]);
});
