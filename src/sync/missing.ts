/** What to send again to a target that refuses a manifest for its parts, though they were pushed, found or mounted. */
import type { CallOptions, Target } from "../content/content.ts";
import type { MissingParts } from "../content/missing-parts.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest, successors } from "../oci/manifest.ts";

/** How often a manifest is tried again after its parts were looked after. */
export const maxRepairs = 2;

/**
 * The parts of a manifest to send for real: those that the target names; if it names none, those that it says it does
 * not have; if it says that it has them all, none at the first time (it may only be slow to see them), all at the second.
 */
export async function partsToSend(
  refusal: MissingParts,
  manifest: { readonly descriptor: Descriptor; readonly bytes: Uint8Array },
  target: Target,
  options: CallOptions & { readonly attempt: number },
): Promise<readonly Descriptor[]> {
  const { descriptor, bytes } = manifest;
  const parts = new Map(
    successors(parseManifest(bytes, descriptor.mediaType, descriptor.digest)).map((part) => [
      part.digest,
      part,
    ]),
  );
  if (refusal.digests.length > 0)
    return [...parts.values()].filter(({ digest }) => refusal.digests.includes(digest));
  if (options.attempt > 1) return [...parts.values()];
  const asked = [...parts.values()].map(async (part) => ((await target.has(part, options)) ? [] : [part]));
  return (await Promise.all(asked)).flat();
}
