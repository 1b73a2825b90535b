/** A bundle of three images with its registry, for tests of pipes: small content, and blobs that no pipe can hold. */
import { readFile } from "node:fs/promises";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "./cli.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "./images.ts";
import { blobOf, makeLayer, randomBytesOf, type TestLayer } from "./layers.ts";
import { type TempDir, tempDir } from "./temp.ts";

const MiB = 1024 * 1024;

export interface PipeCorpus extends AsyncDisposable {
  readonly source: TestRegistry;
  readonly web: TestIndex;
  readonly api: TestImage;
  /** Its second layer is larger than what a pipe holds in memory; its third one is not. */
  readonly big: TestImage;
  /** The references of the three. */
  readonly images: readonly string[];
  /** The folder of `file.tar`, which a pull has written. */
  readonly folder: TempDir;
  readonly bundle: Buffer;
}

/** Makes the images and pulls them into a file. */
export async function makePipeCorpus(): Promise<PipeCorpus> {
  const folder = await tempDir();
  const source = await startRegistry();
  const base = await makeLayer({ base: "shared" });
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "web", layers: [base, 2000, 700_000] }),
    ),
  );
  const web = makeIndex(children, { attestations: true });
  const api = await makeImage({ seed: "api", layers: [base, 3000] });
  const layers = [base, plainLayer("one", 70 * MiB), plainLayer("two", 20 * MiB)];
  const big = await makeImage({ seed: "big", layers });
  seed(source, "team/web", "1.0", web);
  seed(source, "team/api", "2.0", api);
  seed(source, "team/big", "3.0", big);
  const images = ["web:1.0", "api:2.0", "big:3.0"].map((name) => `${source.host}/team/${name}`);
  const pulled = await runMirror(["pull", ...images, "--to", "file.tar"], { cwd: folder.path });
  if (pulled.code !== 0) throw new Error(pulled.stderr);
  const bundle = await readFile(folder.join("file.tar"));
  return {
    source,
    web,
    api,
    big,
    images,
    folder,
    bundle,
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Pushes what the program reads from its standard input into a registry. */
export async function pushPiped(input: Buffer | string, target: TestRegistry): Promise<RunResult> {
  return await runMirror(["push", "-", "--registry", target.host], { stdin: input });
}

/** Where the content of a blob begins in a bundle, in bytes. */
export function placeOf(bundle: Buffer, digest: string): number {
  const name = Buffer.from(`blobs/sha256/${digest.slice("sha256:".length)}\0`);
  let at = bundle.indexOf(name);
  while (at % 512 !== 0) at = bundle.indexOf(name, at + 1);
  return at + 512;
}

/** A copy with one flipped bit. */
export function flipped(bundle: Buffer, at: number): Buffer {
  const bytes = Buffer.from(bundle);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

/** The digests of an image's layers. */
export function digests(image: TestImage): readonly string[] {
  return image.layers.map(({ descriptor }) => descriptor.digest);
}

function plainLayer(name: string, size: number): TestLayer {
  const blob = blobOf(randomBytesOf(name, size), mediaTypes.ociLayer);
  return { ...blob, diffId: blob.descriptor.digest };
}
