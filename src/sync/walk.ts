/** The graph of one image: from its root down to every config and layer, children before parents. */
import type { CallOptions, RawManifest, Source } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { readBlob } from "../content/verify.ts";
import { AppError } from "../errors.ts";
import { bareDescriptor, type Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import {
  maxDescriptors,
  maxIndexDepth,
  type Parsed,
  type ParsedManifest,
  parseManifest,
} from "../oci/manifest.ts";
import { isForeignLayerType, isImageConfigType } from "../oci/media-types.ts";
import { formatPlatform, matchesPlatform, type Platform } from "../oci/platform.ts";
import { fetchChildren, fetchManifest, lost } from "./children.ts";
import { maxConfigBytes, platformOf } from "./config.ts";
import type { Emit } from "./events.ts";
import type { NodeRole, PlannedNode } from "./node.ts";
import { choosePlatforms, noPlatform, replaceChildren } from "./platforms.ts";

export interface WalkOptions extends CallOptions {
  readonly manifests: ManifestStore;
  readonly emit: Emit;
  /** Descriptors of all images so far: shared layers share one object, and one size. */
  readonly interned: Map<Digest, Descriptor>;
  /** Goes on without the manifests that the source has lost, under a new index of the others. */
  readonly allowMissing?: boolean | undefined;
  /** Reads the config of an image without an index, to tell what it runs on. */
  readonly tellPlatforms?: boolean | undefined;
  /** True for layers that are copied although their licence keeps them out of registries; none if left out. */
  readonly includeForeign?: ((layer: Descriptor) => boolean) | undefined;
  /** What the user can do to have them copied; the flag if left out. */
  readonly foreignWay?: string | undefined;
}

/**
 * Walks an image from its root. Every manifest on the way is fetched, verified and kept in `manifests`. Throws
 * NOT_FOUND naming what is missing at the source, INTEGRITY for a graph that cannot be true.
 */
export async function walkImage(
  source: Source,
  root: RawManifest,
  request: { readonly image: string; readonly platforms: readonly Platform[] },
  options: WalkOptions,
): Promise<{ root: Descriptor; runsOn: Platform | undefined; nodes: readonly PlannedNode[] }> {
  const { image } = request;
  const nodes = new Map<Digest, PlannedNode>();
  const add = (role: NodeRole, descriptor: Descriptor): void => {
    // One that is named as a manifest and as a blob is kept as what it was first.
    if (!nodes.has(descriptor.digest))
      nodes.set(descriptor.digest, { role, descriptor: intern(descriptor, options.interned, image) });
    if (nodes.size > maxDescriptors)
      throw new AppError("INTEGRITY", `Cannot copy ${image}: it has more than ${maxDescriptors} parts`);
  };
  // Final descriptors of the manifests that were visited, by the digest that they had at the source.
  const visited = new Map<Digest, Descriptor | undefined>();
  const visit = async (raw: RawManifest, depth: number): Promise<Descriptor | undefined> => {
    const { digest } = raw.descriptor;
    if (visited.has(digest)) return visited.get(digest);
    if (depth > maxIndexDepth)
      throw new AppError(
        "INTEGRITY",
        `Cannot copy ${image}: its indexes are nested more than ${maxIndexDepth} deep`,
      );
    const final = await visitNew(raw, depth);
    visited.set(digest, final);
    return final;
  };
  const visitNew = async (raw: RawManifest, depth: number): Promise<Descriptor | undefined> => {
    options.manifests.put(raw);
    const parsed = parse(raw, image);
    let kept = raw;
    if (parsed.kind === "manifest") addBlobs(parsed);
    else {
      const found = await fetchChildren(source, parsed, image, options);
      const now = new Map<Digest, Descriptor | undefined>();
      for (const [childDigest, child] of found) {
        if (child === undefined) now.set(childDigest, undefined);
        else if ("bytes" in child) now.set(childDigest, await visit(child, depth + 1));
        else {
          add("layer", child);
          now.set(childDigest, child);
        }
      }
      kept = replaceChildren(raw, parsed, now);
      if (kept !== raw && now.size > 0 && [...now.values()].every((child) => child === undefined))
        return undefined;
    }
    options.manifests.put(kept);
    // What an index calls it may be something else than what it is.
    const descriptor = { ...bareDescriptor(kept.descriptor), mediaType: parsed.mediaType };
    add("manifest", descriptor);
    return descriptor;
  };
  const addBlobs = (parsed: ParsedManifest): void => {
    if (parsed.config !== undefined) add("config", parsed.config);
    for (const layer of parsed.layers) {
      const foreign = isForeignLayerType(layer.mediaType) && (layer.urls?.length ?? 0) > 0;
      if (foreign && options.includeForeign?.(layer) !== true) {
        options.emit({
          type: "warning",
          message: `${image}: left out the layer ${layer.digest}, which its licence keeps out of registries`,
          hint: `nodes fetch it from its vendor; where they have no internet, ${options.foreignWay ?? "copy it with --include-foreign"}`,
        });
      } else add("layer", layer);
    }
  };

  const chosen = await choose(source, root, request, options);
  const final = await visit(chosen, 0);
  if (final === undefined)
    throw new AppError("NOT_FOUND", `Cannot copy ${image}: its registry has lost all of its manifests`);
  if (final.digest !== chosen.descriptor.digest) {
    options.emit({
      type: "warning",
      message: `${image}: without what is missing, its index is ${final.digest} instead of ${root.descriptor.digest}`,
      hint: "signatures of the whole index do not hold for the new one",
    });
  }
  for (const missing of chosen.missing) {
    options.emit({
      type: "warning",
      message: `${image} is not available for ${formatPlatform(missing)}`,
      hint: "what it has of the wanted platforms is copied",
    });
  }
  return { root: final, runsOn: chosen.runsOn, nodes: [...nodes.values()] };
}

type Chosen = RawManifest & {
  readonly missing: readonly Platform[];
  /** Of an image without an index, where it is known. */
  readonly runsOn?: Platform | undefined;
};

async function choose(
  source: Source,
  root: RawManifest,
  request: { readonly image: string; readonly platforms: readonly Platform[] },
  options: WalkOptions,
): Promise<Chosen> {
  const { image, platforms } = request;
  if (platforms.length === 0 && options.tellPlatforms !== true) return { ...root, missing: [] };
  const parsed = parse(root, image);
  if (parsed.kind === "manifest") {
    const runsOn = await readPlatform(source, parsed, options);
    if (
      runsOn !== undefined &&
      platforms.length > 0 &&
      !platforms.some((want) => matchesPlatform(runsOn, want))
    )
      throw noPlatform(image, platforms, [runsOn]);
    return { ...root, missing: [], runsOn };
  }
  const choice = choosePlatforms(root, parsed, platforms, image);
  if (choice.kind === "whole") return { ...root, missing: choice.missing };
  if (choice.kind === "rewritten") return { ...choice.index, missing: choice.missing };
  const { child } = choice;
  const raw = await fetchManifest(source, child, image, options);
  if (raw === undefined) throw lost(image, child);
  return { ...raw, missing: choice.missing, runsOn: child.platform };
}

/** An image without an index says what it runs on in its config only; undefined for one that does not, or no image. */
async function readPlatform(
  source: Source,
  { config }: ParsedManifest,
  options: WalkOptions,
): Promise<Platform | undefined> {
  if (config === undefined || !isImageConfigType(config.mediaType) || config.size > maxConfigBytes)
    return undefined;
  return platformOf(await readBlob(source, config, maxConfigBytes, { signal: options.signal }));
}

function parse(raw: RawManifest, image: string): Parsed {
  return parseManifest(raw.bytes, raw.descriptor.mediaType, `${raw.descriptor.digest} of ${image}`);
}

function intern(descriptor: Descriptor, interned: Map<Digest, Descriptor>, image: string): Descriptor {
  const known = interned.get(descriptor.digest);
  if (known === undefined) {
    const { urls } = descriptor;
    const foreign = isForeignLayerType(descriptor.mediaType) && urls !== undefined;
    const bare = foreign ? { ...bareDescriptor(descriptor), urls } : bareDescriptor(descriptor);
    interned.set(bare.digest, bare);
    return bare;
  }
  if (known.size === descriptor.size) return known;
  throw new AppError(
    "INTEGRITY",
    `Cannot verify ${descriptor.digest} of ${image}: one manifest says ${known.size} bytes, another ${descriptor.size}`,
  );
}
