/** A plan as a bundle, and a bundle as a plan: the one place where both sides are known. */
import type { Bundle } from "../bundle/bundle.ts";
import { type BundleBase, leavesOut } from "../bundle/delta.ts";
import { type DockerOffer, dockerOffer } from "../bundle/docker-image.ts";
import { type BundleContents, type Layout, layOut } from "../bundle/layout.ts";
import { type BundleImage, makeMetadata } from "../bundle/metadata.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { formatPlatform, type Platform } from "../oci/platform.ts";
import { parseReference } from "../oci/reference.ts";
import { maxConfigBytes } from "../sync/config.ts";
import type { Emit } from "../sync/events.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";
import type { NodeRole } from "../sync/node.ts";
import type { Plan, PlannedImage, PlanOptions, PlanRequest } from "../sync/plan.ts";

/** What a bundle says of its images besides what the plan has. */
export interface BundleTerms {
  /** What a delta leans on. */
  readonly base?: BundleBase | undefined;
  /** The platform that Docker is offered of every image; linux/amd64, or else the first for Linux, if left out. */
  readonly dockerPlatform?: Platform | undefined;
}

/** The layout of the bundle that holds a plan's images; of a delta, if it leans on something. */
export async function layOutPlan(
  plan: Plan,
  manifests: ManifestStore,
  { base, dockerPlatform }: BundleTerms = {},
): Promise<Layout> {
  const contents = contentsOf(plan);
  const held = new Set([...contents.configs, ...contents.layers].map(({ digest }) => digest));
  const images = plan.images.map((image): BundleImage => {
    const common = { source: image.source, target: image.target, root: image.root, original: image.original };
    const offer = offerOf(image, manifests, dockerPlatform);
    if (offer.kind === "artifact") return { ...common, artifact: true };
    // Docker gets all of an image or nothing: a part may be what a delta leaves out, or a licence keeps back.
    const whole =
      offer.kind === "image" && [offer.image.config, ...offer.image.layers].every((d) => held.has(d));
    return whole ? { ...common, docker: offer.image } : common;
  });
  return await layOut(makeMetadata(images, contents, base), contents);
}

/** One warning for each image that Docker will not be offered since it lacks the platform that the user wants. */
export function tellLackingPlatforms(
  plan: Plan,
  manifests: ManifestStore,
  { dockerPlatform, emit }: Pick<BundleTerms, "dockerPlatform"> & { readonly emit: Emit },
): void {
  if (dockerPlatform === undefined) return;
  for (const image of plan.images) {
    const offer = offerOf(image, manifests, dockerPlatform);
    if (offer.kind !== "lacking") continue;
    emit({
      type: "warning",
      message: `${image.source} is not available for ${formatPlatform(dockerPlatform)}: docker load is not offered it`,
      hint: `it is in the bundle for all other uses, for ${offer.has.map(formatPlatform).join(", ")}`,
    });
  }
}

function offerOf(image: PlannedImage, manifests: ManifestStore, wanted: Platform | undefined): DockerOffer {
  const bytesOf = (digest: Digest): Uint8Array | undefined =>
    manifests.has(digest) ? manifests.get(digest) : undefined;
  return dockerOffer(image, bytesOf, wanted);
}

/** What to ask the planner for, to push a whole bundle under a prefix (may be empty). */
export function bundleRequests(
  bundle: Bundle,
  naming: { readonly template?: string | undefined; readonly prefix: string },
): readonly PlanRequest[] {
  return bundle.images.map((image) => {
    const template = naming.template ?? defaultNameTemplate;
    const as = naming.template === undefined ? image.target : undefined;
    const { prefix } = naming;
    return {
      image: image.source,
      reference: image.root.digest,
      platforms: [],
      // Without a name it can be read and proved, and has no place anywhere.
      target:
        image.unnamed === true
          ? image.target
          : targetName(parseReference(image.source), { template, prefix, as }),
      place: bundle.path,
      original: image.original,
    };
  });
}

/** For whoever plans from a bundle: what was pulled into it is to arrive, and nothing else can. */
export function bundleContent(bundle: Bundle): Pick<PlanOptions, "includeForeign" | "foreignWay"> {
  return {
    includeForeign: (layer) => bundle.has(layer.digest) || leavesOut(bundle, layer),
    foreignWay: "pull the bundle again with --include-foreign",
  };
}

/**
 * The order of the content follows from the content alone where it is large: without one of the images, all others
 * keep their order, so that a bundle can be made smaller in place ({@link BundleWriter.shrink}).
 */
function contentsOf(plan: Plan): BundleContents {
  const byRole: Readonly<Record<NodeRole, Map<Digest, Descriptor>>> = {
    manifest: new Map(),
    config: new Map(),
    layer: new Map(),
  };
  for (const { nodes } of plan.images) {
    for (const { role, descriptor } of nodes) {
      // A huge config is none that anybody would read first.
      const place = role === "config" && descriptor.size > maxConfigBytes ? "layer" : role;
      byRole[place].set(descriptor.digest, descriptor);
    }
  }
  // What is a config here and a layer there has one place only: the first.
  const configs = [...byRole.config.values()].filter(({ digest }) => !byRole.manifest.has(digest));
  const layers = [...byRole.layer.values()].filter(
    ({ digest }) => !byRole.manifest.has(digest) && !byRole.config.has(digest),
  );
  return {
    manifests: [...byRole.manifest.values()],
    configs: configs.sort(byDigest),
    layers: layers.sort(byDigest),
  };
}

function byDigest(a: Descriptor, b: Descriptor): number {
  return a.digest < b.digest ? -1 : 1;
}
