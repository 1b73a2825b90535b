/**
 * Puts a profile into a docker-registry by plain HTTP, and keeps the registry's folder for later runs. Blobs are not
 * stored here: they are made while they are sent.
 */
import { createCipheriv, createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import pLimit from "p-limit";
import { Agent } from "undici";
import { startDockerRegistry } from "../interop/support/docker-registry.ts";
import type { BlobPlan, ImagePlan, PlatformPlan, Profile } from "./profile.ts";

/** A profile that is in a registry's folder. */
export interface Corpus {
  /** Folder to start a docker-registry on. */
  readonly dir: string;
  readonly repository: string;
  readonly tags: readonly string[];
  /** Distinct blobs (manifests not counted) and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const version = 1;
const mediaTypes = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
} as const;

const pieceSize = 1 << 20;
const zeros = Buffer.alloc(pieceSize);
/** Skopeo looks at the first bytes, and would compress what does not begin as gzip. */
const gzipHeader = Buffer.from("1f8b08000000000000ff", "hex");

/** The bytes of a blob: a gzip header, then AES-CTR over zeros with a key out of its name. Incompressible. */
function* blobContent({ name, size }: BlobPlan): Generator<Buffer, void> {
  const key = createHash("sha256").update(name).digest();
  const cipher = createCipheriv("aes-128-ctr", key.subarray(0, 16), key.subarray(16));
  yield gzipHeader;
  for (let left = size - gzipHeader.length; left > 0; left -= pieceSize) {
    yield cipher.update(left < pieceSize ? zeros.subarray(0, left) : zeros);
  }
}

/** Everything that goes into one repository of one registry. */
class Uploader {
  readonly #base: string;
  readonly #agent = new Agent({ connections: 16 });
  readonly #blobs = new Map<string, Promise<Descriptor>>();
  readonly #limit = pLimit(8);

  constructor(url: string, repository: string) {
    this.#base = `${url}/v2/${repository}`;
  }

  /** Blobs so far: how many, and their bytes. */
  async totals(): Promise<{ readonly blobs: number; readonly bytes: number }> {
    const all = await Promise.all(this.#blobs.values());
    return { blobs: all.length, bytes: all.reduce((sum, { size }) => sum + size, 0) };
  }

  layer(plan: BlobPlan): Promise<Descriptor> {
    return this.#once(plan.name, mediaTypes.layer, plan.size, () => blobContent(plan));
  }

  config(content: Buffer): Promise<Descriptor> {
    return this.#once(content.toString("base64"), mediaTypes.config, content.length, () => [content]);
  }

  /** Puts a manifest under a tag, or under its digest. */
  async manifest(mediaType: string, document: object, tag?: string): Promise<Descriptor> {
    const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...document }));
    const digest = `sha256:${createHash("sha256").update(body).digest("hex")}`;
    await this.#limit(() =>
      this.#send("PUT", `${this.#base}/manifests/${tag ?? digest}`, body, { "content-type": mediaType }),
    );
    return { mediaType, digest, size: body.length };
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }

  #once(key: string, mediaType: string, size: number, content: () => Iterable<Buffer>): Promise<Descriptor> {
    const known = this.#blobs.get(key);
    if (known !== undefined) return known;
    const sent = this.#limit(async () => ({ mediaType, digest: await this.#upload(content()), size }));
    this.#blobs.set(key, sent);
    return sent;
  }

  /** Streams a blob up while its digest is made, and commits it under that. */
  async #upload(content: Iterable<Buffer>): Promise<string> {
    const begun = await this.#send("POST", `${this.#base}/blobs/uploads/`);
    const hash = createHash("sha256");
    const hashed = function* (): Generator<Buffer, void> {
      for (const piece of content) {
        hash.update(piece);
        yield piece;
      }
    };
    const sent = await this.#send("PATCH", begun, Readable.from(hashed()), {
      "content-type": "application/octet-stream",
    });
    const digest = `sha256:${hash.digest("hex")}`;
    const place = new URL(sent);
    place.searchParams.set("digest", digest);
    await this.#send("PUT", place.href);
    return digest;
  }

  /** Sends a request and gives its Location; throws on anything but success. */
  async #send(
    method: "POST" | "PATCH" | "PUT",
    url: string,
    body: Buffer | Readable | null = null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const answer = await this.#agent.request({
      origin: new URL(url).origin,
      path: url.slice(new URL(url).origin.length),
      method,
      headers: { ...headers },
      body,
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${url}: ${answer.statusCode} ${text}`);
    const { location } = answer.headers;
    return typeof location === "string" ? location : "";
  }
}

async function putPlatform(to: Uploader, plan: PlatformPlan, image: ImagePlan, tag?: string) {
  const { os, architecture } = plan;
  const layers = await Promise.all(plan.layers.map((layer) => to.layer(layer)));
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os,
      config: { Labels: { "bench.image": image.tag, "bench.layer": plan.layers.at(-1)?.name } },
      rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
    }),
  );
  const document = { config: await to.config(config), layers };
  return { ...(await to.manifest(mediaTypes.manifest, document, tag)), platform: { os, architecture } };
}

async function putImage(to: Uploader, image: ImagePlan): Promise<void> {
  const [only, ...more] = image.platforms;
  if (only !== undefined && more.length === 0) {
    await putPlatform(to, only, image, image.tag);
    return;
  }
  const manifests = await Promise.all(image.platforms.map((platform) => putPlatform(to, platform, image)));
  await to.manifest(mediaTypes.index, { manifests }, image.tag);
}

/**
 * The corpus of a profile below `folder`: made on the first call (2 GB take some seconds), found by its marker file on
 * later ones. `program` is the docker-registry.
 */
export async function prepareCorpus(profile: Profile, folder: string, program: string): Promise<Corpus> {
  const home = join(folder, `oci-mirror-bench-${profile.name}`);
  const marker = join(home, `corpus-${version}.json`);
  const found = await readFile(marker, "utf8").catch(() => undefined);
  if (found !== undefined) return JSON.parse(found) as Corpus;

  await rm(home, { recursive: true, force: true });
  const dir = join(home, "registry");
  await mkdir(dir, { recursive: true });
  await using registry = await startDockerRegistry({ program, forMeasuring: true, dir });
  const uploader = new Uploader(registry.url, profile.repository);
  try {
    const limit = pLimit(16);
    await Promise.all(profile.images.map((image) => limit(() => putImage(uploader, image))));
    const tags = profile.images.map(({ tag }) => tag);
    const corpus = { dir, repository: profile.repository, tags, ...(await uploader.totals()) };
    await writeFile(marker, JSON.stringify(corpus));
    return corpus;
  } finally {
    await uploader.close();
  }
}
