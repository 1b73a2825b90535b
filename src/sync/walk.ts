/** The graph of one image: from its root down to every config and layer, children before parents. */
import pLimit from "p-limit";
import type { CallOptions, RawManifest, Source } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { readBlob } from "../content/verify.ts";
import { AppError } from "../errors.ts";
import { bareDescriptor, type Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { type Parsed, type ParsedManifest, parseManifest } from "../oci/manifest.ts";
import { isForeignLayerType, isImageConfigType, isManifestOrIndexType } from "../oci/media-types.ts";
import { formatPlatform, matchesPlatform, type Platform } from "../oci/platform.ts";
import { maxConfigBytes, platformOf } from "./config.ts";
import type { Emit } from "./events.ts";
import type { NodeRole, PlannedNode } from "./node.ts";
import { choosePlatforms, noPlatform } from "./platforms.ts";

export interface WalkOptions extends CallOptions {
  readonly manifests: ManifestStore;
  readonly emit: Emit;
  /** Descriptors of all images so far: shared layers share one object, and one size. */
  readonly interned: Map<Digest, Descriptor>;
}

/** Nested indexes go this deep in no real image. */
const maxDepth = 8;
const maxNodes = 20_000;
/** Children of one index that are fetched at a time. */
const childConcurrency = 8;

/**
 * Walks an image from its root. Every manifest on the way is fetched, verified and kept in `manifests`. Throws
 * NOT_FOUND naming what is missing at the source, INTEGRITY for a graph that cannot be true.
 */
export async function walkImage(
  source: Source,
  root: RawManifest,
  request: { readonly image: string; readonly platforms: readonly Platform[] },
  options: WalkOptions,
): Promise<{ root: Descriptor; nodes: readonly PlannedNode[] }> {
  const { image, platforms } = request;
  const nodes = new Map<Digest, PlannedNode>();
  const add = (role: NodeRole, descriptor: Descriptor): void => {
    nodes.set(descriptor.digest, { role, descriptor: intern(descriptor, options.interned, image) });
    if (nodes.size > maxNodes)
      throw new AppError("INTEGRITY", `Cannot copy ${image}: it has more than ${maxNodes} parts`);
  };
  const fetchChild = async (child: Descriptor): Promise<RawManifest> => {
    if (options.manifests.has(child.digest))
      return { descriptor: child, bytes: options.manifests.get(child.digest) };
    const raw = await source.manifest(child.digest, { signal: options.signal, mediaType: child.mediaType });
    if (raw.descriptor.size === child.size) return raw;
    throw new AppError(
      "INTEGRITY",
      `Cannot verify ${child.digest} of ${image}: it is ${raw.descriptor.size} bytes, and its index says ${child.size}`,
    );
  };
  const visit = async (raw: RawManifest, depth: number): Promise<void> => {
    if (nodes.has(raw.descriptor.digest)) return;
    if (depth > maxDepth)
      throw new AppError(
        "INTEGRITY",
        `Cannot copy ${image}: its indexes are nested more than ${maxDepth} deep`,
      );
    options.manifests.put(raw);
    const parsed = parse(raw, image);
    if (parsed.kind === "index") {
      const children = await pLimit(childConcurrency).map(parsed.manifests, async (child) =>
        isManifestOrIndexType(child.mediaType) ? await fetchChild(child) : child,
      );
      for (const child of children) {
        if ("bytes" in child) await visit(child, depth + 1);
        else add("layer", child);
      }
    } else {
      addBlobs(parsed);
    }
    add("manifest", raw.descriptor);
  };
  const addBlobs = (parsed: ParsedManifest): void => {
    if (parsed.config !== undefined) add("config", parsed.config);
    for (const layer of parsed.layers) {
      if (isForeignLayerType(layer.mediaType) && (layer.urls?.length ?? 0) > 0) {
        options.emit({
          type: "warning",
          message: `${image}: left out the layer ${layer.digest}, which its licence keeps out of registries`,
          hint: "nodes fetch it from its vendor; without internet such an image cannot run",
        });
      } else add("layer", layer);
    }
  };

  const chosen = await choose(source, root, request, options);
  await visit(chosen, 0);
  for (const missing of chosen.missing) {
    options.emit({
      type: "warning",
      message: `${image} is not available for ${formatPlatform(missing)}`,
      hint: "what it has of the wanted platforms is copied",
    });
  }
  if (platforms.length > 0 && chosen.descriptor.digest !== root.descriptor.digest)
    options.manifests.put(chosen);
  return { root: bareDescriptor(chosen.descriptor), nodes: [...nodes.values()] };
}

type Chosen = RawManifest & { readonly missing: readonly Platform[] };

async function choose(
  source: Source,
  root: RawManifest,
  request: { readonly image: string; readonly platforms: readonly Platform[] },
  options: WalkOptions,
): Promise<Chosen> {
  const { image, platforms } = request;
  if (platforms.length === 0) return { ...root, missing: [] };
  const parsed = parse(root, image);
  if (parsed.kind === "manifest") {
    await requirePlatform(source, parsed, request, options);
    return { ...root, missing: [] };
  }
  const choice = choosePlatforms(root, parsed, platforms, image);
  if (choice.kind === "whole") return { ...root, missing: choice.missing };
  if (choice.kind === "rewritten") return { ...choice.index, missing: choice.missing };
  const { child } = choice;
  const raw = await source.manifest(child.digest, { signal: options.signal, mediaType: child.mediaType });
  return { ...raw, missing: choice.missing };
}

/** An image without an index says what it runs on in its config only. */
async function requirePlatform(
  source: Source,
  parsed: ParsedManifest,
  request: { readonly image: string; readonly platforms: readonly Platform[] },
  options: WalkOptions,
): Promise<void> {
  const { config } = parsed;
  if (config === undefined || !isImageConfigType(config.mediaType) || config.size > maxConfigBytes) return;
  const bytes = await readBlob(source, config, maxConfigBytes, { signal: options.signal });
  const have = platformOf(bytes);
  if (have === undefined || request.platforms.some((want) => matchesPlatform(have, want))) return;
  throw noPlatform(request.image, request.platforms, [have]);
}

function parse(raw: RawManifest, image: string): Parsed {
  return parseManifest(raw.bytes, raw.descriptor.mediaType, `${raw.descriptor.digest} of ${image}`);
}

function intern(descriptor: Descriptor, interned: Map<Digest, Descriptor>, image: string): Descriptor {
  const known = interned.get(descriptor.digest);
  if (known === undefined) {
    const bare = bareDescriptor(descriptor);
    interned.set(bare.digest, bare);
    return bare;
  }
  if (known.size === descriptor.size) return known;
  throw new AppError(
    "INTEGRITY",
    `Cannot verify ${descriptor.digest} of ${image}: one manifest says ${known.size} bytes, another ${descriptor.size}`,
  );
}
