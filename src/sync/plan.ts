/**
 * From what was asked for to a plan: tags resolved to digests, platforms chosen, the graph of every image walked.
 * The plan is plain data: the same object is shown by `mirror plan`, laid out as a bundle, and copied.
 */
import pLimit from "p-limit";
import {
  type CallOptions,
  canMount,
  type RawManifest,
  type Source,
  type Target,
} from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { type AppError, isAppError, toAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { formatPlatform, type Platform } from "../oci/platform.ts";
import type { Emit } from "./events.ts";
import { concernsAll } from "./fatal.ts";
import { refuseCollisions, type TargetName } from "./naming.ts";
import { isBlob, type PlannedNode } from "./node.ts";
import { walkImage } from "./walk.ts";

/** One image that was asked for. */
export interface PlanRequest {
  /** Its full name, for people and for the bundle: `docker.io/library/nginx:1.27`. */
  readonly image: string;
  /** What the source is asked for: a digest or a tag. */
  readonly reference: string;
  readonly platforms: readonly Platform[];
  readonly target: TargetName;
  /** Where it was asked for: `manifests.yaml:12`. */
  readonly place: string;
  /** The digest that this image had before platforms were chosen, where an earlier step knows it. */
  readonly original?: Digest | undefined;
}

export interface PlannedImage {
  readonly source: string;
  readonly target: TargetName;
  readonly root: Descriptor;
  /** The digest at the source, where a choice of platforms made another root. */
  readonly original?: Digest | undefined;
  readonly platforms: readonly string[];
  /** What it runs on, where it has no index that says so and the plan has found out. */
  readonly runsOn?: Platform | undefined;
  /** All that the image is made of, children before parents, the root last. Empty if it is unchanged. */
  readonly nodes: readonly PlannedNode[];
  /** Further parts, which do not move: the target has them, or gets them from somewhere else. None if left out. */
  readonly leansOn?: readonly PlannedNode[];
  /** The target has it already. */
  readonly unchanged: boolean;
}

export interface PlanFailure {
  readonly image: string;
  readonly place: string;
  readonly error: AppError;
}

export interface Plan {
  readonly version: 1;
  readonly images: readonly PlannedImage[];
  readonly totals: {
    readonly images: number;
    readonly unchanged: number;
    /** Distinct blobs and manifests, and their size in bytes. */
    readonly blobs: number;
    readonly bytes: number;
  };
}

export interface PlanOptions extends CallOptions {
  readonly source: (request: PlanRequest) => Source;
  /** Asked whether it has an image already; left out where nothing can be there (a new bundle). */
  readonly target?: ((repository: string) => Target & Pick<Source, "resolve">) | undefined;
  readonly manifests: ManifestStore;
  readonly emit: Emit;
  /** The first failure ends it all: it is the only one in the result then, and the plan may lack images. */
  readonly failFast?: boolean;
  /** Goes on without the manifests of an index that its source has lost. */
  readonly allowMissing?: boolean | undefined;
  /** Finds out what images without an index run on, for a request each. */
  readonly tellPlatforms?: boolean | undefined;
  /** Which layers are copied although their licence keeps them out of registries; none if left out. */
  readonly includeForeign?: ((layer: Descriptor) => boolean) | undefined;
  /** What the user can do to have them copied; the flag if left out. */
  readonly foreignWay?: string | undefined;
}

/** Images resolved at a time: their requests are small, and mostly waiting. */
const resolveConcurrency = 16;

/**
 * Resolves and walks every image. An image that fails is left out of the plan and reported; CONFLICT and USAGE
 * end the whole, since they mean the list as such, and so does DISK, which means the bundle that is read.
 */
export async function makePlan(
  requests: readonly PlanRequest[],
  options: PlanOptions,
): Promise<{ plan: Plan; failures: readonly PlanFailure[] }> {
  const limit = pLimit(resolveConcurrency);
  // Whatever ends the whole also ends the requests that are under way, or they would outlive it.
  const stop = new AbortController();
  const signals = options.signal === undefined ? [stop.signal] : [options.signal, stop.signal];
  const signal = AbortSignal.any(signals);
  const failures: PlanFailure[] = [];
  const interned = new Map<Digest, Descriptor>();
  let done = 0;
  let defect: AppError | undefined;
  options.emit({ type: "resolving", images: requests.length });
  const planned = await limit.map(requests, async (request) => {
    try {
      signal.throwIfAborted();
      return await planImage(request, { ...options, signal }, interned);
    } catch (thrown) {
      if (signal.aborted) return undefined;
      const failure = { image: request.image, place: request.place, error: toAppError(thrown) };
      if (failure.error.code === "INTERNAL" || concernsAll(failure.error)) defect ??= failure.error;
      else options.emit({ type: "image-failed", image: failure.image, error: failure.error });
      failures.push(failure);
      if (options.failFast === true || defect !== undefined) stop.abort(failure.error);
      return undefined;
    } finally {
      done += 1;
      options.emit({ type: "resolved", image: request.image, done, images: requests.length });
    }
  });
  options.signal?.throwIfAborted();
  if (defect !== undefined) throw defect;
  const images = planned.filter((image) => image !== undefined);
  refuseCollisions(images);
  return { plan: { version: 1, images, totals: totalsOf(images) }, failures };
}

/** The plan without some of its images. */
export function withoutImages(plan: Plan, dropped: ReadonlySet<PlannedImage>): Plan {
  const images = plan.images.filter((image) => !dropped.has(image));
  return { ...plan, images, totals: totalsOf(images) };
}

/** The plan without the configs and layers that are to stay where they are: its images lean on them. */
export function leavingOut(plan: Plan, isLeftOut: (part: Descriptor, image: PlannedImage) => boolean): Plan {
  const images = plan.images.map((image) => {
    const left = image.nodes.filter((node) => isBlob(node) && isLeftOut(node.descriptor, image));
    if (left.length === 0) return image;
    const out = new Set(left);
    const nodes = image.nodes.filter((node) => !out.has(node));
    return { ...image, nodes, leansOn: [...(image.leansOn ?? []), ...left] };
  });
  return { ...plan, images, totals: totalsOf(images) };
}

async function planImage(
  request: PlanRequest,
  options: PlanOptions,
  interned: Map<Digest, Descriptor>,
): Promise<PlannedImage> {
  const source = options.source(request);
  const call = { signal: options.signal };
  const common = {
    source: request.image,
    target: request.target,
    original: request.original,
    platforms: request.platforms.map(formatPlatform),
  };
  const there = async (root: Descriptor): Promise<boolean> =>
    options.target !== undefined &&
    (await isThere(options.target(request.target.repository), request.target, root, call));
  let raw: RawManifest | undefined;
  let asked: Digest | undefined;
  if (options.target !== undefined && request.platforms.length === 0) {
    // An unchanged image costs one HEAD at each side and nothing else.
    const found = await resolveAtSource(source, request.reference, call);
    const root = "bytes" in found ? found.descriptor : found;
    if (await there(root)) return { ...common, root, nodes: [], unchanged: true };
    asked = root.digest;
    raw = "bytes" in found ? found : await readResolved(source, request.reference, root, call);
  }
  raw ??= await source.manifest(request.reference, call);
  const walked = await walkImage(source, raw, request, { ...options, interned });
  const original = walked.root.digest === raw.descriptor.digest ? request.original : raw.descriptor.digest;
  const image = { ...common, original, root: walked.root, runsOn: walked.runsOn };
  const unchanged = walked.root.digest !== asked && (await there(walked.root));
  return { ...image, nodes: unchanged ? [] : walked.nodes, unchanged };
}

/** HEAD, and GET where a HEAD finds nothing: some registries answer 404 to the one and 200 to the other. */
async function resolveAtSource(
  source: Source,
  reference: string,
  call: CallOptions,
): Promise<Descriptor | RawManifest> {
  try {
    return await source.resolve(reference, call);
  } catch (error) {
    if (!isAppError(error, "NOT_FOUND")) throw error;
    return await source.manifest(reference, call);
  }
}

/** The manifest that a HEAD named; by its tag where the digest of that answer was not true. */
async function readResolved(
  source: Source,
  reference: string,
  root: Descriptor,
  call: CallOptions,
): Promise<RawManifest> {
  try {
    return await source.manifest(root.digest, { ...call, mediaType: root.mediaType });
  } catch (error) {
    // Other bytes under that digest are damage, which a tag would only hide.
    if (root.digest === reference || !isAppError(error, "NOT_FOUND")) throw error;
    return await source.manifest(reference, call);
  }
}

/** True if the target's tag points at this very digest (or, without a tag, if it has the manifest). */
async function isThere(
  target: Target & Pick<Source, "resolve">,
  name: TargetName,
  root: Descriptor,
  call: CallOptions,
): Promise<boolean> {
  if (name.tag === undefined) return await target.has(root, call);
  try {
    return (await target.resolve(name.tag, call)).digest === root.digest;
  } catch (error) {
    // A repository that does not exist yet answers 404 here, and 401 or 403 at registries that hide it.
    if (isAppError(error, "NOT_FOUND", "DENIED") && canMount(target)) return false;
    throw error;
  }
}

function totalsOf(images: readonly PlannedImage[]): Plan["totals"] {
  const sizes = new Map<Digest, number>();
  for (const { nodes } of images)
    for (const { descriptor } of nodes) sizes.set(descriptor.digest, descriptor.size);
  let bytes = 0;
  for (const size of sizes.values()) bytes += size;
  return {
    images: images.length,
    unchanged: images.filter((image) => image.unchanged).length,
    blobs: sizes.size,
    bytes,
  };
}
