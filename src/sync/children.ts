/** What an index leads to, fetched: manifests, or blobs where the source keeps no manifest under that digest. */
import pLimit from "p-limit";
import type { CallOptions, RawManifest, Source } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { maxManifestBytes, type ParsedIndex } from "../oci/manifest.ts";
import { isManifestOrIndexType } from "../oci/media-types.ts";
import { platformName } from "../oci/platform.ts";
import type { Emit } from "./events.ts";

export interface ChildOptions extends CallOptions {
  readonly manifests: ManifestStore;
  readonly emit: Emit;
  readonly allowMissing?: boolean | undefined;
}

/** Children of one index that are fetched at a time. */
const childConcurrency = 8;

/**
 * The distinct children of an index in their order: a manifest with its bytes, a blob as its descriptor, undefined for
 * one that the source has lost. Throws NOT_FOUND for such a one unless `allowMissing` is set.
 */
export async function fetchChildren(
  source: Source,
  parsed: ParsedIndex,
  image: string,
  options: ChildOptions,
): Promise<ReadonlyMap<Digest, RawManifest | Descriptor | undefined>> {
  const distinct = new Map(parsed.manifests.map((child) => [child.digest, child]));
  const found = await pLimit(childConcurrency).map([...distinct.values()], async (child) => {
    const fetched = await fetchChild(source, child, image, options);
    if (fetched === undefined && options.allowMissing !== true) throw lost(image, child);
    return [child.digest, fetched] as const;
  });
  for (const [digest, fetched] of found) {
    const child = distinct.get(digest);
    if (fetched === undefined && child !== undefined)
      options.emit({
        type: "warning",
        message: `${image}: left out ${naming(child)}, which is missing at its source`,
      });
  }
  return new Map(found);
}

/** A child whose type is none of a manifest is looked for as a manifest first, then taken for a blob. */
async function fetchChild(
  source: Source,
  child: Descriptor,
  image: string,
  options: ChildOptions,
): Promise<RawManifest | Descriptor | undefined> {
  if (isManifestOrIndexType(child.mediaType)) return await fetchManifest(source, child, image, options);
  if (child.size > maxManifestBytes) return child;
  try {
    return (await fetchManifest(source, child, image, options)) ?? child;
  } catch (error) {
    // Its bytes are there and are no manifest.
    if (!isAppError(error, "INTEGRITY")) throw error;
    return child;
  }
}

/** A manifest that its index describes; undefined if the source does not have it. Throws INTEGRITY for another size. */
export async function fetchManifest(
  source: Source,
  child: Descriptor,
  image: string,
  options: ChildOptions,
): Promise<RawManifest | undefined> {
  const raw = await readManifest(source, child, options);
  const size = raw?.bytes.byteLength;
  if (size === undefined || size === child.size) return raw;
  throw new AppError(
    "INTEGRITY",
    `Cannot verify ${child.digest} of ${image}: it is ${size} bytes, and its index says ${child.size}`,
  );
}

async function readManifest(
  source: Source,
  child: Descriptor,
  options: ChildOptions,
): Promise<RawManifest | undefined> {
  if (options.manifests.has(child.digest))
    return { descriptor: child, bytes: options.manifests.get(child.digest) };
  try {
    return await source.manifest(child.digest, { signal: options.signal, mediaType: child.mediaType });
  } catch (error) {
    if (isAppError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

/** The error for a manifest that an index leads to and its source does not have. */
export function lost(image: string, child: Descriptor): AppError {
  return new AppError(
    "NOT_FOUND",
    `Cannot copy ${image}: ${naming(child)} is in its index, and missing at its source`,
    {
      hint: "choose other platforms, or go on without it, under another digest: --allow-missing",
      side: "source",
      details: { digest: child.digest },
    },
  );
}

function naming({ platform, digest }: Descriptor): string {
  const name = platformName(platform);
  return name === undefined ? digest : `${name} (${digest})`;
}
