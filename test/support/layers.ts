/** Layers of test images: real gzip'd tars, the same bytes for the same input. */
import { createCipheriv, createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";

/** Which family of media types an image uses. */
export type Flavour = "oci" | "docker";

export interface TestBlob {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
}

export interface TestLayer extends TestBlob {
  /** The digest of the tar inside, as the config names it. */
  readonly diffId: Digest;
}

const layerTypes = {
  oci: `${mediaTypes.ociLayer}+gzip`,
  docker: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

/** Incompressible bytes, the same for the same seed. */
export function randomBytesOf(seed: string, size: number): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** A tar of files (path to content) with their folders in front of them, all of 1970. */
export async function makeTar(files: Readonly<Record<string, string | Uint8Array>>): Promise<Buffer> {
  const tar = pack();
  const made = new Set<string>();
  const mtime = new Date(0);
  for (const [name, content] of Object.entries(files)) {
    for (const folder of foldersOf(name)) {
      if (!made.has(folder)) tar.entry({ name: folder, type: "directory", mode: 0o755, mtime });
      made.add(folder);
    }
    tar.entry({ name, mode: 0o644, mtime }, Buffer.from(content));
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A layer of given files. */
export async function makeLayer(
  files: Readonly<Record<string, string | Uint8Array>>,
  flavour: Flavour = "oci",
): Promise<TestLayer> {
  // Level 1: most of what tests pack does not compress anyway.
  return layerOf(gzipSync(await makeTar(files), { level: 1 }), flavour);
}

/** A layer of one small file and so many incompressible bytes; it comes out a little larger than `size`. */
export function makeRandomLayer(seed: string, size: number, flavour: Flavour = "oci"): Promise<TestLayer> {
  const name = digestOf(Buffer.from(seed)).slice("sha256:".length, "sha256:".length + 12);
  return makeLayer(
    { [`etc/layers/${name}`]: `${seed}\n`, [`var/lib/layers/${name}.bin`]: randomBytesOf(seed, size) },
    flavour,
  );
}

/** The layer that a gzip'd tar is. */
export function layerOf(bytes: Buffer, flavour: Flavour = "oci"): TestLayer {
  return { ...blobOf(bytes, layerTypes[flavour]), diffId: digestOf(gunzipSync(bytes)) };
}

/** Bytes with the descriptor that fits them. */
export function blobOf(bytes: Buffer, mediaType: string): TestBlob {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

function foldersOf(name: string): readonly string[] {
  const parts = name.split("/").slice(0, -1);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("/")}/`);
}
