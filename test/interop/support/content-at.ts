/** What a registry has under a tag, down to the bytes of its layers: the proof that an archive arrived. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { fetch } from "undici";
import { expect } from "vitest";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseManifest } from "../../../src/oci/manifest.ts";
import { mediaTypes } from "../../../src/oci/media-types.ts";

/** One image of one platform. */
export interface ContentAt {
  readonly digest: Digest;
  readonly config: Digest;
  /** The digests of the tars inside of its layers, by their bytes. */
  readonly diffIds: readonly Digest[];
}

const accept = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
].join(", ");

/** Reads all that a tag or digest leads to: one for each platform. Fails where a digest is not that of its bytes. */
export async function contentAt(
  host: string,
  repository: string,
  reference: string,
): Promise<readonly ContentAt[]> {
  const base = `http://${host}/v2/${repository}`;
  const answer = await fetch(`${base}/manifests/${reference}`, { headers: { accept } });
  const bytes = Buffer.from(await answer.arrayBuffer());
  expect(answer.status, bytes.toString("utf8")).toBe(200);
  const digest = digestOf(bytes);
  if (reference.startsWith("sha256:")) expect(digest).toBe(reference);
  const parsed = parseManifest(bytes, answer.headers.get("content-type") ?? "", reference);
  if (parsed.kind === "index") {
    const below = parsed.manifests.map(async (child) => await contentAt(host, repository, child.digest));
    return (await Promise.all(below)).flat();
  }
  const layers = await Promise.all(parsed.layers.map(async (layer) => await blobAt(base, layer.digest)));
  const config = parsed.config?.digest ?? digest;
  await blobAt(base, config);
  return [{ digest, config, diffIds: layers.map((layer) => digestOf(unpacked(layer))) }];
}

/** The bytes of one config, as an object. */
export async function configAt(host: string, repository: string, digest: Digest): Promise<unknown> {
  return JSON.parse((await blobAt(`http://${host}/v2/${repository}`, digest)).toString("utf8"));
}

async function blobAt(base: string, digest: Digest): Promise<Buffer> {
  const answer = await fetch(`${base}/blobs/${digest}`);
  expect(answer.status).toBe(200);
  const bytes = Buffer.from(await answer.arrayBuffer());
  expect(digestOf(bytes)).toBe(digest);
  return bytes;
}

function unpacked(layer: Buffer): Buffer {
  if (layer.readUInt16BE(0) === 0x1f8b) return gunzipSync(layer);
  return layer.readUInt32LE(0) === 0xfd2fb528 ? zstdDecompressSync(layer) : layer;
}
