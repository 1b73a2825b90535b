/** What the interop tests mirror: one of each kind of image, put into a real registry as any client would. */
import { writeFile } from "node:fs/promises";
import { zstdCompressSync } from "node:zlib";
import { fetch } from "undici";
import { expect } from "vitest";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { makeArtifact, makeImage, makeIndex, type TestImage, type TestIndex } from "../../support/images.ts";
import { blobOf, makeRandomLayer, makeTar, type TestLayer } from "../../support/layers.ts";
import { type TempDir, tempDir } from "../../support/temp.ts";
import { type DockerRegistry, startDockerRegistry } from "./docker-registry.ts";

/** A tagged image. */
export interface CorpusImage {
  readonly repository: string;
  readonly tag: string;
  readonly content: TestImage | TestIndex;
}

/** The corpus in a registry of its own, and a folder with its list. Disposing of it ends and removes both. */
export interface CorpusSource extends AsyncDisposable {
  readonly folder: TempDir;
  readonly source: DockerRegistry;
  readonly corpus: readonly CorpusImage[];
}

/** Fills a docker-registry with the corpus, and writes `manifests.yaml`. `program`: that of the registry. */
export async function startCorpusSource(program: string): Promise<CorpusSource> {
  const folder = await tempDir();
  const corpus = await makeCorpus();
  const source = await startDockerRegistry({ program });
  await upload(source.url, corpus);
  await writeFile(folder.join("manifests.yaml"), listOf(source.host, corpus));
  return {
    folder,
    source,
    corpus,
    [Symbol.asyncDispose]: async () => {
      await source.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** One manifest as it has to be everywhere. */
export interface CorpusManifest {
  readonly repository: string;
  /** `team/app:1.0` for a tag, `team/app@sha256:…` for a child of an index. */
  readonly name: string;
  readonly digest: Digest;
  readonly text: string;
}

/**
 * An OCI index with attestations under two tags, a Docker manifest list, an OCI image with a zstd layer, a chart.
 * Two of the repositories share a layer.
 */
export async function makeCorpus(): Promise<readonly CorpusImage[]> {
  const shared = await makeRandomLayer("corpus/shared", 100_000);
  const app = async (platform: string): Promise<TestImage> =>
    await makeImage({ platform, layers: [shared, 50_000], seed: `app/${platform}` });
  const index = makeIndex([await app("linux/amd64"), await app("linux/arm64")], { attestations: true });
  const tool = async (platform: string): Promise<TestImage> =>
    await makeImage({ platform, layers: [30_000], seed: `tool/${platform}`, mediaTypes: "docker" });
  const list = makeIndex([await tool("linux/amd64"), await tool("linux/arm64")], { mediaTypes: "docker" });
  const web = await makeImage({ layers: [shared, await zstdLayer("corpus/web")], seed: "web" });
  const chart = makeArtifact({
    configType: "application/vnd.cncf.helm.config.v1+json",
    config: JSON.stringify({ name: "shop", version: "0.3.0", apiVersion: "v2" }),
    files: [
      { mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", bytes: Buffer.from("a chart") },
    ],
  });
  return [
    { repository: "team/app", tag: "1.0", content: index },
    { repository: "team/app", tag: "stable", content: index },
    { repository: "legacy/tool", tag: "2.0", content: list },
    { repository: "team/web", tag: "1.0", content: web },
    { repository: "charts/shop", tag: "0.3.0", content: chart },
  ];
}

/** An image of many small layers, so that something can happen between them. */
export async function makeLongImage(layers: number, bytesEach: number): Promise<CorpusImage> {
  const sizes = Array<number>(layers).fill(bytesEach);
  return {
    repository: "team/long",
    tag: "1.0",
    content: await makeImage({ layers: sizes, seed: `long ${layers}` }),
  };
}

/** Every manifest of the images, the indexes' children included. */
export function manifestsOf(images: readonly CorpusImage[]): readonly CorpusManifest[] {
  const found = new Map<string, CorpusManifest>();
  const visit = (repository: string, name: string, content: TestImage | TestIndex): void => {
    const { digest } = content.descriptor;
    found.set(name, { repository, name, digest, text: content.manifest.toString("utf8") });
    if (content.kind === "image") return;
    for (const child of content.children) {
      visit(repository, `${repository}@${child.descriptor.digest}`, child);
    }
  };
  for (const { repository, tag, content } of images) visit(repository, `${repository}:${tag}`, content);
  return [...found.values()];
}

/** The digests of all that an image consists of: manifests, configs, layers. */
export function digestsOf(content: TestImage | TestIndex): readonly Digest[] {
  const below =
    content.kind === "index"
      ? content.children.flatMap(digestsOf)
      : [content.config, ...content.layers].map(({ descriptor }) => descriptor.digest);
  return [...new Set([content.descriptor.digest, ...below])];
}

/** An image list (YAML) of the images at a host. */
export function listOf(host: string, images: readonly CorpusImage[]): string {
  const lines = images.map(({ repository, tag }) => `  - ${host}/${repository}:${tag}`);
  return ["version: 1", "images:", ...lines, ""].join("\n");
}

/** Puts images into a registry that asks for nothing. `url`: `http://host:port`. */
export async function upload(url: string, images: readonly CorpusImage[]): Promise<void> {
  for (const { repository, tag, content } of images) await put(`${url}/v2/${repository}`, tag, content);
}

async function put(base: string, reference: string, content: TestImage | TestIndex): Promise<void> {
  if (content.kind === "index") {
    for (const child of content.children) await put(base, child.descriptor.digest, child);
  } else {
    for (const blob of [content.config, ...content.layers]) await putBlob(base, blob.bytes);
  }
  const answer = await fetch(`${base}/manifests/${reference}`, {
    method: "PUT",
    headers: { "content-type": content.descriptor.mediaType },
    body: content.manifest,
  });
  expect(answer.status, await answer.text()).toBe(201);
}

async function putBlob(base: string, bytes: Buffer): Promise<void> {
  const begun = await fetch(`${base}/blobs/uploads/`, { method: "POST" });
  const place = new URL(begun.headers.get("location") ?? "");
  place.searchParams.set("digest", digestOf(bytes));
  const answer = await fetch(place, { method: "PUT", body: bytes });
  expect(answer.status, await answer.text()).toBe(201);
}

async function zstdLayer(seed: string): Promise<TestLayer> {
  const tar = await makeTar({ "etc/zstd": `${seed}\n`, "var/lib/zeros": Buffer.alloc(20_000) });
  const blob = blobOf(zstdCompressSync(tar), "application/vnd.oci.image.layer.v1.tar+zstd");
  return { ...blob, diffId: digestOf(tar) };
}
