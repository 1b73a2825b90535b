import { gunzipSync } from "node:zlib";
import { extract } from "tar-stream";
import { expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry } from "../registry/registry.ts";
import { seedDemo } from "./demo-images.ts";
import { makeArtifact, makeImage, makeIndex, seed } from "./images.ts";
import { makeLayer, makeRandomLayer } from "./layers.ts";

interface Config {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly rootfs: { readonly diff_ids: readonly string[] };
}

test("a layer is a gzip'd tar of its folders and files", async () => {
  const layer = await makeLayer({ "etc/app/name": "x", "etc/app/size": Buffer.alloc(600, 1) });
  const tar = extract();
  tar.end(gunzipSync(layer.bytes));
  const entries: [string, number][] = [];
  for await (const entry of tar) {
    entries.push([entry.header.name, entry.header.size ?? 0]);
    entry.resume();
  }
  expect(entries).toEqual([
    ["etc/", 0],
    ["etc/app/", 0],
    ["etc/app/name", 1],
    ["etc/app/size", 600],
  ]);
});

test("an image's config names the tars inside its layers, and its platform", async () => {
  const shared = await makeRandomLayer("shared", 2000);
  const image = await makeImage({ platform: "linux/arm/v7", layers: [shared, 3000, shared.bytes] });
  const config = JSON.parse(image.config.bytes.toString()) as Config;
  expect(config).toMatchObject({ os: "linux", architecture: "arm", variant: "v7" });
  expect(config.rootfs.diff_ids).toEqual(image.layers.map(({ bytes }) => digestOf(gunzipSync(bytes))));
  expect(image.layers[2]).toEqual(shared);
  expect(image.layers[1]?.bytes.length).toBeGreaterThan(3000);
});

test("the same options give the same image, another seed another one", async () => {
  const [one, again, other] = await Promise.all([makeImage(), makeImage(), makeImage({ seed: "other" })]);
  expect(again.descriptor).toEqual(one.descriptor);
  expect(other.descriptor.digest).not.toBe(one.descriptor.digest);
});

test.each(["oci", "docker"] as const)(
  "%s manifests parse, and lead to what the image holds",
  async (flavour) => {
    const image = await makeImage({ mediaTypes: flavour });
    const index = makeIndex([image], { mediaTypes: flavour, attestations: true });
    const parsed = parseManifest(image.manifest, "", "test");
    expect(parsed).toMatchObject({
      config: image.config.descriptor,
      layers: image.layers.map((layer) => layer.descriptor),
    });
    const parsedIndex = parseManifest(index.manifest, "", "test");
    expect(parsedIndex).toMatchObject({ kind: "index", mediaType: index.descriptor.mediaType });
    expect(index.children[1]?.descriptor.annotations).toMatchObject({
      "vnd.docker.reference.digest": image.descriptor.digest,
    });
  },
);

test("seeding puts everything below an index into the repository", async () => {
  await using registry = await startRegistry();
  const image = await makeImage();
  const artifact = makeArtifact({
    configType: mediaTypes.ociEmpty,
    config: "{}",
    files: [],
    artifactType: "application/x-test",
    subject: image.descriptor,
  });
  const index = makeIndex([makeIndex([image]), artifact]);
  seed(registry, "a/b", "v1", index);
  expect(registry.tags("a/b")).toEqual(["v1"]);
  for (const { descriptor, manifest } of [index, image, artifact]) {
    expect(registry.manifest("a/b", descriptor.digest)?.bytes).toEqual(manifest);
  }
  expect(registry.blob("a/b", image.config.descriptor.digest)).toEqual(image.config.bytes);
});

test("the demo has an index, two images that share its base layer, and a chart", async () => {
  await using registry = await startRegistry();
  const demo = await seedDemo(registry);
  const parsed = demo.map(({ repository, tag, digest }) => {
    const stored = registry.manifest(repository, tag);
    expect(stored?.digest).toBe(digest);
    return parseManifest(stored?.bytes ?? Buffer.alloc(0), "", repository);
  });
  const [web, api, jobs, chart] = parsed;
  if (
    web?.kind !== "index" ||
    api?.kind !== "manifest" ||
    jobs?.kind !== "manifest" ||
    chart?.kind !== "manifest"
  ) {
    throw new Error("the demo holds something else");
  }
  expect(web.manifests.map(({ platform }) => platform?.architecture)).toEqual(["amd64", "arm64"]);
  const base = api.layers[0]?.digest;
  expect(jobs.layers[0]?.digest).toBe(base);
  for (const child of web.manifests) {
    const bytes = registry.manifest("demo/web", child.digest)?.bytes ?? Buffer.alloc(0);
    expect(parseManifest(bytes, "", "child")).toMatchObject({ layers: [{ digest: base }, {}] });
  }
  expect(chart.config?.mediaType).toBe("application/vnd.cncf.helm.config.v1+json");
});
