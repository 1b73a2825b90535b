/** A plan as a bundle, and a bundle as a plan: the one place where both sides are known. */
import type { Bundle } from "../bundle/bundle.ts";
import { type BundleBase, leavesOut } from "../bundle/delta.ts";
import { dockerImage } from "../bundle/docker-image.ts";
import { type BundleContents, type Layout, layOut } from "../bundle/layout.ts";
import { type BundleImage, type DockerImage, makeMetadata } from "../bundle/metadata.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseReference } from "../oci/reference.ts";
import { maxConfigBytes } from "../sync/config.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";
import type { NodeRole } from "../sync/node.ts";
import type { Plan, PlannedImage, PlanOptions, PlanRequest } from "../sync/plan.ts";

/** The layout of the bundle that holds a plan's images; of a delta, if it leans on something. */
export async function layOutPlan(plan: Plan, manifests: ManifestStore, base?: BundleBase): Promise<Layout> {
  const images: BundleImage[] = plan.images.map((image) => ({
    source: image.source,
    target: image.target,
    root: image.root,
    original: image.original,
    docker: dockerOf(image, manifests),
  }));
  const contents = contentsOf(plan);
  return await layOut(makeMetadata(images, contents, base), contents);
}

/** What Docker is offered of an image: nothing, if some of that is left out. */
function dockerOf({ root, leansOn = [] }: PlannedImage, manifests: ManifestStore): DockerImage | undefined {
  const found = dockerImage(root, (digest) => (manifests.has(digest) ? manifests.get(digest) : undefined));
  const left = new Set(leansOn.map(({ descriptor }) => descriptor.digest));
  return found === undefined || [found.config, ...found.layers].some((digest) => left.has(digest))
    ? undefined
    : found;
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
