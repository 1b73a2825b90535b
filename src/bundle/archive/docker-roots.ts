/**
 * Images of an archive that has no manifests: docker save up to 24, docker-archive of skopeo and podman, crane, jib. A
 * manifest is made for each, over its config and layers as they lie there, so that nothing is unpacked or packed again:
 * an OCI manifest, since Docker's schema 2 knows no plain tar as a layer, and since it is what Docker 25 and later
 * write for the same image, byte for byte (moby daemon/internal/image/tarexport/save.go).
 */
import { z } from "zod";
import { Digest, digestOf } from "../../oci/digest.ts";
import { parseObject } from "../../oci/json.ts";
import { mediaTypes } from "../../oci/media-types.ts";
import { damagedArchive, shownName, unreadArchive } from "./archive-error.ts";
import { type ArchiveFile, type ArchiveFiles, readSmall } from "./archive-files.ts";
import { compressionOf, magicBytes } from "./compression.ts";
import type { DockerItem } from "./docker-list.ts";
import { archiveReference, type Root, type RootName } from "./image-names.ts";
import { type LayerFacts, readLayerFacts } from "./layer-facts.ts";

/** What stands for the content of such an archive, by digest. */
export interface MadeContent {
  readonly roots: readonly Root[];
  readonly manifests: ReadonlyMap<Digest, Buffer>;
  readonly blobs: ReadonlyMap<Digest, ArchiveFile>;
  /** True if a layer lies there as a plain tar. */
  readonly uncompressed: boolean;
}

/** All manifests that are made of an archive are not longer than this together, in bytes. */
const maxMadeBytes = 32 * 1024 * 1024;

const Config = z.object({ rootfs: z.object({ diff_ids: z.array(Digest).nullish() }) });

/** Makes manifests for all images of the list. Throws INTEGRITY where list, configs and layers disagree. */
export async function makeRoots(
  files: ArchiveFiles,
  items: readonly DockerItem[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<MadeContent> {
  if (items.length === 0) throw unreadArchive(files.path, "there is no image in it");
  const maker = new Maker(files, options.signal);
  const roots: Root[] = [];
  for (const item of items) roots.push(...(await maker.make(item)));
  const { manifests, blobs, uncompressed } = maker;
  return { roots, manifests, blobs, uncompressed };
}

class Maker {
  readonly manifests = new Map<Digest, Buffer>();
  readonly blobs = new Map<Digest, ArchiveFile>();
  uncompressed = false;
  readonly #files: ArchiveFiles;
  readonly #signal: AbortSignal | undefined;
  /** Size of all manifests that were made. */
  #bytes = 0;
  /** What is known of each layer file, by the name that links lead to. */
  readonly #facts = new Map<string, LayerFacts>();

  constructor(files: ArchiveFiles, signal: AbortSignal | undefined) {
    this.#files = files;
    this.#signal = signal;
  }

  async make(item: DockerItem): Promise<readonly Root[]> {
    const { path } = this.#files;
    const who = item.tags[0] ?? item.config;
    const file = this.#find(item.config, who);
    const bytes = await readSmall(this.#files, file, { signal: this.#signal });
    const digest = digestOf(bytes);
    // Docker and crane call it by its digest.
    const hex = /^(?:sha256:|blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/.exec(item.config)?.[1];
    if (hex !== undefined && digest !== `sha256:${hex}`)
      throw damagedArchive(path, `its ${item.config} has the digest ${digest}`);
    this.blobs.set(digest, file);
    const diffIds = readDiffIds(bytes, item.config, path);
    if (diffIds.length !== item.layers.length) {
      const state = `manifest.json has ${item.layers.length} layers for ${shownName(who)}, and its config ${diffIds.length}`;
      throw damagedArchive(path, state);
    }
    const layers: object[] = [];
    for (const [index, name] of item.layers.entries()) {
      const diffId = diffIds[index];
      if (diffId !== undefined) layers.push(await this.#layer(name, diffId, who));
    }
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { mediaType: mediaTypes.ociConfig, digest, size: bytes.byteLength },
        layers,
      }),
    );
    const root = { mediaType: mediaTypes.ociManifest, digest: digestOf(manifest), size: manifest.byteLength };
    this.#bytes += this.manifests.has(root.digest) ? 0 : manifest.byteLength;
    if (this.#bytes > maxMadeBytes)
      throw unreadArchive(path, "its images have more layers than those of any real archive");
    this.manifests.set(root.digest, manifest);
    if (item.tags.length === 0) return [{ descriptor: root, name: { kind: "none" } }];
    return item.tags.map((tag) => ({ descriptor: root, name: tagName(tag, path) }));
  }

  /** The descriptor of a layer. */
  async #layer(name: string, diffId: Digest, who: string): Promise<object> {
    const { path } = this.#files;
    const file = this.#find(name, who);
    const facts = this.#facts.get(file.name) ?? (await this.#look(file, diffId));
    this.#facts.set(file.name, facts);
    if (facts.diffId === undefined)
      throw unreadArchive(path, `the layer ${shownName(name)} is compressed with ${facts.compression ?? ""}`);
    if (facts.diffId !== diffId) {
      const state = `the layer ${shownName(name)} of ${shownName(who)} holds ${facts.diffId}, and its config says ${diffId}`;
      throw damagedArchive(path, state);
    }
    this.blobs.set(facts.digest, file);
    this.uncompressed ||= facts.compression === undefined;
    const suffix = facts.compression === undefined ? "" : `+${facts.compression}`;
    return { mediaType: `${mediaTypes.ociLayer}${suffix}`, digest: facts.digest, size: file.size };
  }

  /** Of a plain tar the config says the digest, which is proved when it is read. Others are read for it. */
  async #look(file: ArchiveFile, diffId: Digest): Promise<LayerFacts> {
    const known = this.#files.factsOf?.(file);
    if (known !== undefined) return known;
    const name = `${file.name} in ${this.#files.path}`;
    const compression = compressionOf(await this.#head(file));
    if (compression === undefined && diffId.startsWith("sha256:"))
      return { compression, digest: diffId, diffId };
    return await readLayerFacts(await this.#files.open(file, { signal: this.#signal }), name);
  }

  async #head(file: ArchiveFile): Promise<Buffer> {
    const parts: Buffer[] = [];
    let known = 0;
    for await (const chunk of await this.#files.open(file, { signal: this.#signal })) {
      parts.push(Buffer.from(chunk.subarray(0, magicBytes)));
      known += chunk.byteLength;
      if (known >= magicBytes) break;
    }
    return Buffer.concat(parts);
  }

  #find(name: string, who: string): ArchiveFile {
    const file = this.#files.find(name);
    if (file !== undefined) return file;
    throw damagedArchive(this.#files.path, `${shownName(name)} of ${shownName(who)} is missing`);
  }
}

/** A tag of `manifest.json`; of a name with a digest only the repository, since the digest is that of another manifest. */
function tagName(tag: string, path: string): RootName {
  const { registry, repository, tag: own } = archiveReference(tag, path);
  return {
    kind: "named",
    reference: own === undefined ? { registry, repository } : { registry, repository, tag: own },
  };
}

function readDiffIds(bytes: Buffer, name: string, path: string): readonly Digest[] {
  try {
    return Config.parse(parseObject(bytes)).rootfs.diff_ids ?? [];
  } catch (error) {
    throw damagedArchive(path, `its ${name} is no config of an image`, error);
  }
}
