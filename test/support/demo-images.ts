/** Builds the images that fixtures/demo describes, and puts them into a test registry. */
import { readdir, readFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { z } from "zod";
import type { Digest } from "../../src/oci/digest.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { makeArtifact, makeImage, makeIndex, seed, type TestImage, type TestIndex } from "./images.ts";
import { makeLayer, makeTar, randomBytesOf, type TestLayer } from "./layers.ts";

const demoFolder = fileURLToPath(new URL("../../fixtures/demo", import.meta.url));

const Layer = z.strictObject({
  /** Folder beside images.json whose files become the layer. */
  folder: z.string(),
  /** Incompressible bytes that are added, so that there is something to transfer. */
  bulk: z.number().int().nonnegative(),
  /** True for layers that differ from platform to platform. */
  perPlatform: z.boolean().default(false),
});
const Demo = z.strictObject({
  images: z.array(
    z.strictObject({
      repository: z.string(),
      tag: z.string(),
      platforms: z.array(z.string()).min(1),
      layers: z.array(Layer),
    }),
  ),
  charts: z.array(z.strictObject({ repository: z.string(), tag: z.string(), folder: z.string() })),
});

/** Something that the demo can pull. */
export interface DemoImage {
  readonly repository: string;
  readonly tag: string;
  readonly digest: Digest;
}

/** Builds all images of the demo and puts them into the registry; gives them in the order of the file. */
export async function seedDemo(registry: TestRegistry): Promise<readonly DemoImage[]> {
  const demo = Demo.parse(JSON.parse(await readFile(join(demoFolder, "images.json"), "utf8")));
  const seeded: DemoImage[] = [];
  const put = (repository: string, tag: string, content: TestImage | TestIndex): void => {
    seed(registry, repository, tag, content);
    seeded.push({ repository, tag, digest: content.descriptor.digest });
  };
  for (const { repository, tag, platforms, layers } of demo.images) {
    const images: TestImage[] = [];
    for (const platform of platforms) {
      const built: TestLayer[] = [];
      for (const layer of layers) built.push(await buildLayer(layer, platform));
      images.push(await makeImage({ platform, layers: built, seed: `${repository}:${tag}` }));
    }
    const [only] = images;
    put(repository, tag, images.length === 1 && only !== undefined ? only : makeIndex(images));
  }
  for (const { repository, tag, folder } of demo.charts) put(repository, tag, await buildChart(folder));
  return seeded;
}

async function buildLayer(layer: z.infer<typeof Layer>, platform: string): Promise<TestLayer> {
  const { folder, bulk, perPlatform } = layer;
  const name = perPlatform ? `${folder}-${platform.replaceAll("/", "-")}` : folder;
  return makeLayer({ ...(await readFiles(folder)), [`usr/lib/demo/${name}.bin`]: randomBytesOf(name, bulk) });
}

/** A chart as `helm push` stores it: the metadata as config, the packed folder as the only layer. */
async function buildChart(folder: string): Promise<TestImage> {
  const files = await readFiles(folder);
  const packed = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`shop/${name}`, bytes]));
  return makeArtifact({
    configType: "application/vnd.cncf.helm.config.v1+json",
    config: JSON.stringify({ name: "shop", version: "0.3.0", apiVersion: "v2" }),
    files: [
      {
        mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        bytes: gzipSync(await makeTar(packed)),
      },
    ],
  });
}

/** All files below a folder of the demo, by their path in it, sorted. */
async function readFiles(folder: string): Promise<Record<string, Buffer>> {
  const root = join(demoFolder, folder);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const files: Record<string, Buffer> = {};
  for (const path of paths.sort()) files[relative(root, path).split(sep).join("/")] = await readFile(path);
  return files;
}
