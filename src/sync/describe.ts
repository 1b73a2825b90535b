/** What an image is made of, for people: platforms, layers, sizes. */
import pLimit from "p-limit";
import type { CallOptions, RawManifest, Source } from "../content/content.ts";
import { readBlob } from "../content/verify.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { type ParsedManifest, parseManifest } from "../oci/manifest.ts";
import { isImageConfigType, isManifestOrIndexType } from "../oci/media-types.ts";
import { formatPlatform, isUnknownPlatform, type Platform } from "../oci/platform.ts";
import { createdOf, maxConfigBytes, platformOf } from "./config.ts";

/** One manifest of an image. Sizes in bytes. */
export interface ManifestDescription {
  readonly digest: Digest;
  readonly mediaType: string;
  /** `linux/arm64`; left out for artifacts and attestations. */
  readonly platform?: string;
  readonly artifactType?: string;
  /** It attests another manifest of the index. */
  readonly attests?: string;
  /** When the image was built, as its config says (RFC 3339). */
  readonly created?: string;
  readonly config?: BlobDescription;
  readonly layers: readonly BlobDescription[];
  /** Manifest, config and layers together. */
  readonly size: number;
}

export interface BlobDescription {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
}

/** What refers to an image: a signature, an SBOM, an attestation. `size` is that of its manifest, in bytes. */
export interface ReferrerDescription {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** What it is, by its own word; left out where it does not say. */
  readonly artifactType?: string;
  /** Where it was found, if that is a tag of cosign's. */
  readonly tag?: string;
}

export interface ImageDescription {
  readonly image: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** All distinct content of the image. */
  readonly size: number;
  readonly manifests: readonly ManifestDescription[];
  /** What an archive lacks of its index: platforms, or digests; left out if it is whole. */
  readonly missing?: readonly string[];
  /** What refers to it in its registry; left out for a bundle, and where the registry does not tell. */
  readonly referrers?: readonly ReferrerDescription[];
}

const concurrency = 8;

/**
 * Reads the manifests (and configs) of an image and describes it. `name` is what the result calls it. Parts of an index
 * that are not there are named; the image itself has to be (NOT_FOUND).
 */
export async function describeImage(
  source: Source,
  reference: string,
  name: string,
  options: CallOptions = {},
): Promise<ImageDescription> {
  const root = await source.manifest(reference, options);
  const manifests: ManifestDescription[] = [];
  const missing: string[] = [];
  const sizes = new Map<Digest, number>();
  const visit = async (raw: RawManifest, from: Descriptor | undefined, depth: number): Promise<void> => {
    sizes.set(raw.descriptor.digest, raw.descriptor.size);
    const parsed = parseManifest(raw.bytes, raw.descriptor.mediaType, `${raw.descriptor.digest} of ${name}`);
    if (parsed.kind === "manifest") {
      for (const blob of [parsed.config, ...parsed.layers])
        if (blob !== undefined) sizes.set(blob.digest, blob.size);
      manifests.push(await describeManifest(source, raw, parsed, from, options));
      return;
    }
    if (depth === 0) return;
    const children = parsed.manifests.filter((child) => isManifestOrIndexType(child.mediaType));
    const fetched = await pLimit(concurrency).map(children, async (child) => ({
      child,
      raw: await findChild(source, child, options),
    }));
    for (const { child, raw: found } of fetched) {
      if (found !== undefined) await visit(found, child, depth - 1);
      else if (child.platform === undefined || isUnknownPlatform(child.platform)) missing.push(child.digest);
      else missing.push(formatPlatform(child.platform));
    }
  };
  await visit(root, undefined, 8);
  const size = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  return {
    image: name,
    digest: root.descriptor.digest,
    mediaType: root.descriptor.mediaType,
    size,
    manifests,
    ...(missing.length === 0 ? {} : { missing }),
  };
}

/** Undefined if the source does not have it. */
async function findChild(
  source: Source,
  { digest, mediaType }: Descriptor,
  options: CallOptions,
): Promise<RawManifest | undefined> {
  try {
    return await source.manifest(digest, { ...options, mediaType });
  } catch (error) {
    if (isAppError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

async function describeManifest(
  source: Source,
  raw: RawManifest,
  parsed: ParsedManifest,
  from: Descriptor | undefined,
  options: CallOptions,
): Promise<ManifestDescription> {
  const { config, layers, artifactType } = parsed;
  const told = config === undefined ? undefined : await readConfig(source, config, options);
  const platform = from?.platform ?? told?.platform;
  const attests = from?.annotations?.["vnd.docker.reference.digest"];
  const type =
    artifactType ??
    from?.artifactType ??
    (config !== undefined && !isImageConfigType(config.mediaType) ? config.mediaType : undefined);
  const blobs = [...(config === undefined ? [] : [config]), ...layers];
  return {
    digest: raw.descriptor.digest,
    mediaType: raw.descriptor.mediaType,
    ...(platform === undefined || isUnknownPlatform(platform) ? {} : { platform: formatPlatform(platform) }),
    ...(type === undefined ? {} : { artifactType: type }),
    ...(attests === undefined ? {} : { attests }),
    ...(told?.created === undefined ? {} : { created: told.created }),
    ...(config === undefined ? {} : { config: pick(config) }),
    layers: layers.map(pick),
    size: raw.descriptor.size + blobs.reduce((sum, blob) => sum + blob.size, 0),
  };
}

async function readConfig(
  source: Source,
  config: Descriptor,
  options: CallOptions,
): Promise<{ platform?: Platform; created?: string } | undefined> {
  if (!isImageConfigType(config.mediaType) || config.size > maxConfigBytes) return undefined;
  const bytes = await readBlob(source, config, maxConfigBytes, { signal: options.signal });
  const platform = platformOf(bytes);
  const created = createdOf(bytes);
  return { ...(platform === undefined ? {} : { platform }), ...(created === undefined ? {} : { created }) };
}

function pick({ digest, mediaType, size }: Descriptor): BlobDescription {
  return { digest, mediaType, size };
}
