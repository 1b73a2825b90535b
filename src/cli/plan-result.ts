/** A plan as `plan` shows it, to people and as JSON. */
import type { BundleBase } from "../bundle/delta.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { parseManifest } from "../oci/manifest.ts";
import { platformName } from "../oci/platform.ts";
import { formatBytes, plural, table } from "../report/format.ts";
import { formatLimit } from "../report/summary.ts";
import type { RegistryLimit } from "../sync/events.ts";
import { failedPlans, type ImageResult, imageResult } from "../sync/outcome.ts";
import type { Plan, PlanFailure, PlannedImage } from "../sync/plan.ts";

import { type BaseFigures, baseFigures, heldBy } from "./base-figures.ts";

/** One image of a plan. Sizes in bytes, of all that the image is made of. */
export type PlannedResult = ImageResult & {
  readonly platforms?: readonly string[];
  readonly blobs?: number;
  readonly bytes?: number;
};

/** What `plan --json` prints. */
export interface PlanResult {
  readonly images: readonly PlannedResult[];
  readonly totals: Plan["totals"];
  /** What registries said of their limits on requests. */
  readonly limits: readonly RegistryLimit[];
  /** What a delta would lean on. */
  readonly base?: BaseFigures;
}

/** The result for a plan. `status` "done" means that it would be copied. */
export function planResult(
  plan: Plan,
  failures: readonly PlanFailure[],
  manifests: ManifestStore,
  { limits, base }: { readonly limits: readonly RegistryLimit[]; readonly base?: BundleBase | undefined },
): PlanResult {
  const planned = plan.images.map((image) => ({
    ...imageResult(image),
    ...(image.unchanged
      ? {}
      : {
          platforms: platformsOf(image, manifests),
          blobs: image.nodes.length,
          bytes: image.nodes.reduce((sum, { descriptor }) => sum + descriptor.size, 0),
        }),
  }));
  return {
    images: [...planned, ...failedPlans(failures)],
    totals: plan.totals,
    limits,
    ...(base === undefined ? {} : { base: baseFigures(base) }),
  };
}

/** A table of the images, and what moves in all. */
export function formatPlan({ images, totals, limits, base }: PlanResult): string {
  const rows = images
    .filter(({ status }) => status !== "failed")
    .map(({ image, digest = "", status, platforms = [], bytes }) => [
      image,
      digest.slice(0, 19),
      platforms.join(" "),
      status === "unchanged" ? "unchanged" : formatBytes(bytes ?? 0),
    ]);
  const sum = `${plural(totals.images, "image")}, ${totals.unchanged} unchanged; ${plural(totals.blobs, "distinct blob")}, ${formatBytes(totals.bytes)}${base === undefined ? "" : `\nleft out: ${heldBy(base)}`}${limits.map((limit) => `\n${formatLimit(limit)}`).join("")}`;
  return rows.length === 0
    ? sum
    : `${table([["IMAGE", "DIGEST", "PLATFORMS", "SIZE"], ...rows], { align: ["left", "left", "left", "right"] })}\n${sum}`;
}

function platformsOf(image: PlannedImage, manifests: ManifestStore): readonly string[] {
  if (!manifests.has(image.root.digest)) return [];
  const parsed = parseManifest(manifests.get(image.root.digest), image.root.mediaType, image.source);
  if (parsed.kind !== "index") return image.platforms;
  return parsed.manifests.flatMap(({ platform }) => platformName(platform) ?? []);
}
