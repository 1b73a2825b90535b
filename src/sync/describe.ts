/** What an image is made of, for people: platforms, layers, sizes. */
import pLimit from "p-limit";
import type { CallOptions, RawManifest, Source } from "../content/content.ts";
import { readBlob } from "../content/verify.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { maxIndexDepth, type ParsedManifest, parseManifest, successors } from "../oci/manifest.ts";
import { isImageConfigType, isManifestOrIndexType } from "../oci/media-types.ts";
import { type Platform, platformName } from "../oci/platform.ts";
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
  /** A delta leaves it out: what it leans on has it. */
  readonly leftOut?: true;
}

export interface DescribeOptions extends CallOptions {
  /** True for blobs that the source is known not to have; none if left out. */
  readonly isLeftOut?: ((blob: Descriptor) => boolean) | undefined;
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

/** A manifest that an index names, and that is not there. */
export interface MissingDescription {
  readonly digest: Digest;
  readonly platform?: string;
}

/** An image could be described in part only: manifests of its index are missing. The description has the rest. */
export class IncompleteImages extends AppError {
  readonly images: readonly ImageDescription[];

  constructor(images: readonly ImageDescription[]) {
    const lines = images.flatMap(({ image, missing = [] }) =>
      missing.map(
        ({ digest, platform }) =>
          `Cannot find ${image}: ${platform ?? "a manifest"} (${digest}) is in its index, and not there`,
      ),
    );
    super("NOT_FOUND", lines.join("\n"), {
      hint: "push the image again, or copy the rest of it with --allow-missing",
    });
    this.images = images;
  }
}

export interface ImageDescription {
  readonly image: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** All distinct content of the image. */
  readonly size: number;
  readonly manifests: readonly ManifestDescription[];
  /** Children of its index that are not where it is; left out if none are missing. */
  readonly missing?: readonly MissingDescription[];
  /** What refers to it in its registry; left out for a bundle, and where the registry does not tell. */
  readonly referrers?: readonly ReferrerDescription[];
}

const concurrency = 8;

/** Reads the manifests (and configs) of an image and describes it. `name` is what the result calls it. */
export async function describeImage(
  source: Source,
  reference: string,
  name: string,
  options: DescribeOptions = {},
): Promise<ImageDescription> {
  const root = await source.manifest(reference, options);
  const manifests: ManifestDescription[] = [];
  const missing: MissingDescription[] = [];
  const sizes = new Map<Digest, number>();
  const visit = async (raw: RawManifest, from: Descriptor | undefined, depth: number): Promise<void> => {
    sizes.set(raw.descriptor.digest, raw.descriptor.size);
    const parsed = parseManifest(raw.bytes, raw.descriptor.mediaType, `${raw.descriptor.digest} of ${name}`);
    if (parsed.kind === "manifest") {
      for (const blob of successors(parsed)) sizes.set(blob.digest, blob.size);
      manifests.push(await describeManifest(source, raw, parsed, from, options));
      return;
    }
    if (depth === 0) return;
    const children = parsed.manifests.filter((child) => isManifestOrIndexType(child.mediaType));
    const fetched = await pLimit(concurrency).map(children, async (child) => ({
      child,
      raw: await source
        .manifest(child.digest, { ...options, mediaType: child.mediaType })
        .catch((error: unknown) => {
          if (!isAppError(error, "NOT_FOUND")) throw error;
          return undefined;
        }),
    }));
    for (const { child, raw: found } of fetched) {
      if (found !== undefined) await visit(found, child, depth - 1);
      else missing.push({ digest: child.digest, ...platformText(child.platform) });
    }
  };
  await visit(root, undefined, maxIndexDepth);
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

function platformText(platform: Platform | undefined): { readonly platform?: string } {
  const name = platformName(platform);
  return name === undefined ? {} : { platform: name };
}

async function describeManifest(
  source: Source,
  raw: RawManifest,
  parsed: ParsedManifest,
  from: Descriptor | undefined,
  options: DescribeOptions,
): Promise<ManifestDescription> {
  const { config, layers, artifactType } = parsed;
  const told = config === undefined ? undefined : await readConfig(source, config, options);
  const platform = from?.platform ?? told?.platform;
  const attests = from?.annotations?.["vnd.docker.reference.digest"];
  const type =
    artifactType ??
    from?.artifactType ??
    (config !== undefined && !isImageConfigType(config.mediaType) ? config.mediaType : undefined);
  return {
    digest: raw.descriptor.digest,
    mediaType: raw.descriptor.mediaType,
    ...platformText(platform),
    ...(type === undefined ? {} : { artifactType: type }),
    ...(attests === undefined ? {} : { attests }),
    ...(told?.created === undefined ? {} : { created: told.created }),
    ...(config === undefined ? {} : { config: pick(config, options) }),
    layers: layers.map((layer) => pick(layer, options)),
    size: raw.descriptor.size + successors(parsed).reduce((sum, blob) => sum + blob.size, 0),
  };
}

async function readConfig(
  source: Source,
  config: Descriptor,
  options: DescribeOptions,
): Promise<{ platform?: Platform; created?: string } | undefined> {
  if (!isImageConfigType(config.mediaType) || config.size > maxConfigBytes) return undefined;
  if (options.isLeftOut?.(config) === true) return undefined;
  const bytes = await readBlob(source, config, maxConfigBytes, { signal: options.signal });
  const platform = platformOf(bytes);
  const created = createdOf(bytes);
  return { ...(platform === undefined ? {} : { platform }), ...(created === undefined ? {} : { created }) };
}

function pick(blob: Descriptor, { isLeftOut }: DescribeOptions): BlobDescription {
  const { digest, mediaType, size } = blob;
  return { digest, mediaType, size, ...(isLeftOut?.(blob) === true ? { leftOut: true } : {}) };
}
