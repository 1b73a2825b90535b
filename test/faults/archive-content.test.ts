/** Row 52 of the fault list: archives whose parts do not belong together. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openBundle } from "../../src/bundle/open.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import {
  blobEntries,
  dockerSaveEntries,
  type Entry,
  indexEntry,
  layoutEntry,
  ociEntries,
  tarOf,
  writeTar,
} from "../support/archives.ts";
import { makeImage, makeIndex, type TestImage } from "../support/images.ts";
import { findProblems } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let app: TestImage;
beforeAll(async () => {
  folder = await tempDir();
  app = await makeImage({ seed: "app", layers: [100_000, 2000] });
});
afterAll(async () => await folder[Symbol.asyncDispose]());

const named = { "io.containerd.image.name": "docker.io/team/app:1.0" };
const oci = (): readonly Entry[] => ociEntries([{ content: app, annotations: named }]);
const saved = (): readonly Entry[] => dockerSaveEntries([{ image: app, tags: ["team/app:1.0"] }]);

async function problems(entries: readonly Entry[]): Promise<readonly string[]> {
  await using bundle = await openBundle(await writeTar(folder.join("x.tar"), entries));
  return (await findProblems(bundle)).map(({ message }) => message);
}
const opening = async (entries: readonly Entry[]) =>
  openBundle(await writeTar(folder.join("x.tar"), entries));
/** The entries with the content of one of them changed. */
function withContent(
  entries: readonly Entry[],
  name: string,
  change: (content: Buffer) => Buffer,
): readonly Entry[] {
  return entries.map((entry) =>
    entry.name === name ? { ...entry, content: change(Buffer.from(entry.content ?? "")) } : entry,
  );
}
const flip = (content: Buffer): Buffer => {
  content.writeUInt8((content.at(-1) ?? 0) ^ 1, content.byteLength - 1);
  return content;
};

test("row 52: bytes that are not what their name says are found", async () => {
  for (const { descriptor } of [...app.layers, app.config, app]) {
    const found = await problems(withContent(oci(), `blobs/sha256/${hexOf(descriptor.digest)}`, flip));
    expect(found).toEqual([expect.stringMatching(new RegExp(`^Cannot verify ${descriptor.digest}`))]);
  }
  const layer = saved().find(({ name }) => name.endsWith("layer.tar"))?.name ?? "";
  expect(await problems(withContent(saved(), layer, flip))).toEqual([
    expect.stringMatching(/^Cannot verify sha256:/),
  ]);
  // Compressed, all of it was read before: it is refused at once, as it would be later.
  const tar = await tarOf(withContent(saved(), layer, flip));
  await writeFile(folder.join("x.tar.gz"), gzipSync(tar));
  await using compressed = await openBundle(folder.join("x.tar.gz"));
  expect((await findProblems(compressed)).length).toBe(1);
});

test("row 52: a size that is not that of the descriptor is found", async () => {
  const [layer] = app.layers;
  const name = `blobs/sha256/${hexOf(layer?.descriptor.digest ?? app.descriptor.digest)}`;
  const found = await problems(withContent(oci(), name, (content) => content.subarray(1)));
  expect(found).toEqual([expect.stringMatching(/is \d+ bytes in it, and should be \d+$/)]);
  const root = { ...app.descriptor, size: app.descriptor.size + 1, annotations: named };
  const wrong = oci().map((entry) => (entry.name === "index.json" ? indexEntry([root]) : entry));
  expect(await problems(wrong)).toEqual([expect.stringContaining("and should be")]);
});

test("row 52: a blob that is missing is named, with the image that needs it", async () => {
  const digest = app.layers[1]?.descriptor.digest ?? app.descriptor.digest;
  const without = oci().filter(({ name }) => name !== `blobs/sha256/${hexOf(digest)}`);
  expect(await problems(without)).toEqual([
    `Cannot find ${digest} in ${folder.join("x.tar")}: 1 of 3 blobs of ${app.descriptor.digest} are missing`,
  ]);
  const layer = saved().find(({ name }) => name.endsWith("layer.tar"))?.name;
  await expect(opening(saved().filter(({ name }) => name !== layer))).rejects.toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining('of "team/app:1.0" is missing'),
  });
});

test("row 52: a sparse archive lists the platforms that it has and lacks", async () => {
  const arm = await makeImage({ seed: "arm", platform: "linux/arm64" });
  const index = makeIndex([app, arm, await makeImage({ seed: "s390x", platform: "linux/s390x" })]);
  const entries = [
    layoutEntry,
    indexEntry([{ ...index.descriptor, annotations: named }]),
    ...blobEntries(app),
    ...blobEntries(index).slice(-1),
  ];
  expect(await problems(entries)).toEqual([
    expect.stringContaining(
      "it is a sparse archive, which holds linux/amd64 and lacks linux/arm64, linux/s390x",
    ),
  ]);
});

test("row 52: configs, layers and list that disagree are refused", async () => {
  const config = `${hexOf(app.config.descriptor.digest)}.json`;
  const list = (change: (item: { Layers: string[] }) => void): readonly Entry[] =>
    withContent(saved(), "manifest.json", (content) => {
      const items = JSON.parse(content.toString("utf8")) as { Layers: string[] }[];
      for (const item of items) change(item);
      return Buffer.from(JSON.stringify(items));
    });
  await expect(opening(list(({ Layers }) => Layers.pop()))).rejects.toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining('manifest.json has 1 layers for "team/app:1.0", and its config 2'),
  });
  await expect(opening(list(({ Layers }) => Layers.fill(Layers[0] ?? "")))).rejects.toMatchObject({
    code: "INTEGRITY",
    message: expect.stringMatching(/holds sha256:\w+, and its config says sha256:\w+$/),
  });
  // The wrong way round, each is not what the config says, which reading them shows.
  expect(await problems(list(({ Layers }) => Layers.reverse()))).toHaveLength(2);
  await expect(opening(withContent(saved(), config, flip))).rejects.toMatchObject({ code: "INTEGRITY" });
  await expect(
    opening(withContent(saved(), "manifest.json", () => Buffer.from('{"Config":1}'))),
  ).rejects.toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining("its manifest.json is not what Docker writes"),
  });
});

test("row 52: names of manifest.json: none, one with a digest, and what is no name", async () => {
  const of = async (tags: readonly string[] | null) =>
    await opening(dockerSaveEntries([{ image: app, tags }]));
  await using none = await of(null);
  expect(none.images).toMatchObject([{ unnamed: true }]);
  await using digest = await of([`team/app@sha256:${"0".repeat(64)}`]);
  const root = digest.images[0]?.root.digest;
  expect(digest.images).toMatchObject([
    { source: `docker.io/team/app@${root}`, target: { repository: "team/app" } },
  ]);
  await expect(of(["Team App:1"])).rejects.toMatchObject({
    code: "BUNDLE",
    message: expect.stringContaining('an image in it is called "Team App:1", which is no name'),
  });
});

test("row 52: another version of the layout is refused", async () => {
  const version = { name: "oci-layout", content: '{"imageLayoutVersion":"2.0.0"}' };
  await expect(opening([version, ...oci().slice(0, -1)])).rejects.toMatchObject({
    code: "BUNDLE",
    message: expect.stringContaining('it has OCI layout version "2.0.0", and this program knows 1.0.0'),
  });
});

test("row 52: indexes that lead to themselves, or deeper than any, end", async () => {
  // By its own digest no index can be named: whoever tries names other content.
  const self: Digest = `sha256:${"a".repeat(64)}` as Digest;
  const ring = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ mediaType: "application/vnd.oci.image.index.v1+json", digest: self, size: 217 }],
    }),
  );
  const root = { mediaType: "application/vnd.oci.image.index.v1+json", digest: self, size: ring.byteLength };
  const entries = [
    layoutEntry,
    indexEntry([{ ...root, annotations: named }, root]),
    { name: `blobs/sha256/${hexOf(self)}`, content: ring },
  ];
  expect(await problems(entries)).toEqual(
    expect.arrayContaining([expect.stringContaining(`Cannot verify ${self}: the content has the digest`)]),
  );
  let deep = makeIndex([app]);
  for (let depth = 0; depth < 12; depth += 1) deep = makeIndex([deep]);
  expect(await problems(ociEntries([{ content: deep, annotations: named }]))).toEqual([
    expect.stringContaining("nested more than"),
  ]);
});

test("row 52: content under sha512 is proved by it", async () => {
  const [layer] = app.layers;
  if (layer === undefined) throw new Error("there is a layer");
  const digest = `sha512:${createHash("sha512").update(layer.bytes).digest("hex")}` as Digest;
  const config = app.config.descriptor;
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, config, layers: [{ ...layer.descriptor, digest }] }),
  );
  const root = { mediaType: app.descriptor.mediaType, digest: digestOf(manifest), size: manifest.byteLength };
  const entries = (bytes: Buffer): Entry[] => [
    layoutEntry,
    indexEntry([{ ...root, annotations: named }]),
    { name: `blobs/sha256/${hexOf(root.digest)}`, content: manifest },
    { name: `blobs/sha256/${hexOf(config.digest)}`, content: app.config.bytes },
    { name: `blobs/sha512/${hexOf(digest)}`, content: bytes },
  ];
  expect(await problems(entries(layer.bytes))).toEqual([]);
  expect(await problems(entries(flip(Buffer.from(layer.bytes))))).toEqual([
    expect.stringContaining(`Cannot verify ${digest}`),
  ]);
});
