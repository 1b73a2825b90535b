/** What a plan has to move: every distinct blob once, with all that need it. */
import type { ReadingOrder } from "../content/content.ts";
import type { Passage } from "../content/passage.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { PlannedImage } from "./plan.ts";

/** One place that needs a blob. */
export interface Need {
  readonly place: string;
  readonly repository: string;
  /** The images in this place that need it, in the order of the plan: whatever one source lacks, another may have. */
  readonly images: PlannedImage[];
}

/** One blob and everything that needs it. */
export interface Transfer {
  readonly descriptor: Descriptor;
  /** By place, in the order of the plan. */
  readonly needs: Map<string, Need>;
}

/**
 * The transfers of all images, the largest first, so that no big one is left to run alone at the end; or in the order
 * of a source that has one.
 */
export function collectTransfers(
  images: readonly PlannedImage[],
  placeOf: (repository: string) => string,
  order?: ReadingOrder,
): readonly Transfer[] {
  const transfers = new Map<Digest, Transfer>();
  for (const image of images) {
    const { repository } = image.target;
    const place = placeOf(repository);
    for (const { role, descriptor } of image.nodes) {
      if (role === "manifest") continue;
      const transfer = transfers.get(descriptor.digest) ?? { descriptor, needs: new Map<string, Need>() };
      transfers.set(descriptor.digest, transfer);
      const need = transfer.needs.get(place) ?? { place, repository, images: [] };
      transfer.needs.set(place, need);
      need.images.push(image);
    }
  }
  const key = ({ descriptor }: Transfer): number => order?.(descriptor.digest) ?? -descriptor.size;
  return [...transfers.values()].sort((a, b) => key(a) - key(b));
}

/** Names content in one place. */
export function keyOf(place: string, digest: Digest): string {
  return `${place} ${digest}`;
}

/** The transfers as they go by. */
export function inOrder(transfers: readonly Transfer[], passage: Passage): readonly Transfer[] {
  const position = ({ descriptor }: Transfer): number => passage.position(descriptor.digest);
  return transfers.toSorted((one, other) => position(one) - position(other));
}
