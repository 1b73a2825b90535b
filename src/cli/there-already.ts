/** What the unchanged images of a bundle have brought to the target before: what others share with them is mounted. */
import type { Bundle } from "../bundle/bundle.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest, successors } from "../oci/manifest.ts";
import { isForeignLayerType, isManifestOrIndexType } from "../oci/media-types.ts";
import type { Plan } from "../sync/plan.ts";

/**
 * Tells of each blob that is still to be brought somewhere, and that an unchanged image has, the repository of that image
 * in the target. Their manifests are read from the bundle; the target is not asked.
 */
export async function tellShared(
  plan: Plan,
  bundle: Pick<Bundle, "manifest">,
  tell: (digest: Digest, repository: string) => void,
): Promise<void> {
  const wanted = new Set<Digest>();
  // Layers that a licence keeps out of registries need not be in that one.
  for (const { nodes } of plan.images)
    for (const { role, descriptor } of nodes)
      if (role !== "manifest" && !isForeignLayerType(descriptor.mediaType)) wanted.add(descriptor.digest);
  for (const { root, target, unchanged } of plan.images) {
    if (!unchanged || wanted.size === 0) continue;
    const seen = new Map([[root.digest, root]]);
    // Whatever is added while it is walked is walked too.
    for (const part of seen.values()) {
      if (isManifestOrIndexType(part.mediaType))
        for (const child of await childrenOf(part, bundle)) seen.set(child.digest, child);
      else if (wanted.delete(part.digest)) tell(part.digest, target.repository);
    }
  }
}

/** Nothing for what the bundle does not have, or not right: it is not sent, and whoever needs it says so. */
async function childrenOf(
  { digest, mediaType }: Descriptor,
  bundle: Pick<Bundle, "manifest">,
): Promise<readonly Descriptor[]> {
  try {
    const { bytes, descriptor } = await bundle.manifest(digest, { mediaType });
    return successors(parseManifest(bytes, descriptor.mediaType, digest));
  } catch (error) {
    if (!isAppError(error)) throw error;
    return [];
  }
}
