/** Manifests that are at hand already, in what an earlier run has left: they are not asked for again. */
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import type {
  ByteStream,
  CallOptions,
  ManifestOptions,
  OpenOptions,
  RawManifest,
  SeveralPlaces,
  Source,
} from "./content.ts";
import { hasSeveralPlaces } from "./content.ts";

/** A place where manifests may be found. */
export interface ManifestCache {
  /** The bytes of a manifest, proved against the digest; undefined if they are not here, or not right. */
  find(digest: Digest): Promise<Uint8Array | undefined>;
}

/**
 * A source whose manifests are looked for in caches first. A tag is resolved by HEAD then, which registries that
 * limit requests do not count (protocol notes 8), and its manifest is fetched only if it is in none of them.
 */
export class KnownManifests implements Source, SeveralPlaces {
  readonly #source: Source;
  readonly #caches: readonly ManifestCache[];

  constructor(source: Source, caches: readonly ManifestCache[]) {
    this.#source = source;
    this.#caches = caches;
  }

  async resolve(reference: string, options?: CallOptions): Promise<Descriptor> {
    return await this.#source.resolve(reference, options);
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    if (isDigest(reference)) {
      return (
        (await this.#find(reference, options.mediaType)) ?? (await this.#source.manifest(reference, options))
      );
    }
    try {
      const { digest, mediaType } = await this.#source.resolve(reference, options);
      const known = await this.#find(digest, mediaType);
      return known ?? (await this.#source.manifest(digest, { ...options, mediaType }));
    } catch (error) {
      // Some registries find by GET what they do not find by HEAD, or by tag what they do not find by digest.
      if (!isAppError(error, "NOT_FOUND")) throw error;
      return await this.#source.manifest(reference, options);
    }
  }

  async open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream> {
    return await this.#source.open(descriptor, options);
  }

  distrust(descriptor: Descriptor): boolean {
    return hasSeveralPlaces(this.#source) && this.#source.distrust(descriptor);
  }

  async #find(digest: Digest, mediaType: string | undefined): Promise<RawManifest | undefined> {
    for (const cache of this.#caches) {
      const bytes = await cache.find(digest);
      if (bytes === undefined) continue;
      const parsed = parseManifest(bytes, mediaType ?? "", digest);
      return { bytes, descriptor: { mediaType: parsed.mediaType, digest, size: bytes.byteLength } };
    }
    return undefined;
  }
}
