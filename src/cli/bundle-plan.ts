/** A plan as a bundle, and a bundle as a plan: the one place where both sides are known. */
import { dockerImage } from "../bundle/docker-image.ts";
import { type BundleContents, type Layout, layOut } from "../bundle/layout.ts";
import { type BundleImage, makeMetadata } from "../bundle/metadata.ts";
import type { BundleReader } from "../bundle/reader.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseReference } from "../oci/reference.ts";
import { maxConfigBytes } from "../sync/config.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";
import type { NodeRole } from "../sync/node.ts";
import type { Plan, PlanOptions, PlanRequest } from "../sync/plan.ts";

/** The layout of the bundle that holds a plan's images. */
export async function layOutPlan(plan: Plan, manifests: ManifestStore): Promise<Layout> {
  const images: BundleImage[] = plan.images.map((image) => ({
    source: image.source,
    target: image.target,
    root: image.root,
    original: image.original,
    docker: dockerImage(image.root, (digest) => (manifests.has(digest) ? manifests.get(digest) : undefined)),
  }));
  const contents = contentsOf(plan);
  return await layOut(makeMetadata(images, contents), contents);
}

/** What to ask the planner for, to push a whole bundle under a prefix (may be empty). */
export function bundleRequests(
  bundle: Pick<BundleReader, "path" | "images">,
  naming: { readonly template?: string | undefined; readonly prefix: string },
): readonly PlanRequest[] {
  return bundle.images.map((image) => {
    const template = naming.template ?? defaultNameTemplate;
    const as = naming.template === undefined ? image.target : undefined;
    return {
      image: image.source,
      reference: image.root.digest,
      platforms: [],
      target: targetName(parseReference(image.source), { template, prefix: naming.prefix, as }),
      place: bundle.path,
      original: image.original,
    };
  });
}

/** For whoever plans from a bundle: what was pulled into it is to arrive, and nothing else can. */
export function bundleContent(
  bundle: Pick<BundleReader, "has">,
): Pick<PlanOptions, "includeForeign" | "foreignWay"> {
  return {
    includeForeign: ({ digest }) => bundle.has(digest),
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
