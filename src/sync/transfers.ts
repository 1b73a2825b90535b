/** What a plan has to move: every distinct blob once, with all that need it. */
import type { ReadingOrder } from "../content/content.ts";
import type { Passage } from "../content/passage.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { isBlob, type PlannedNode } from "./node.ts";
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
  const transfers = contentsOf(images, isBlob).map(({ descriptor, images: needing }): Transfer => {
    const needs = new Map<string, Need>();
    for (const image of needing) {
      const { repository } = image.target;
      const place = placeOf(repository);
      const need = needs.get(place) ?? { place, repository, images: [] };
      needs.set(place, need);
      need.images.push(image);
    }
    return { descriptor, needs };
  });
  const key = ({ descriptor }: Transfer): number => order?.(descriptor.digest) ?? -descriptor.size;
  return transfers.sort((a, b) => key(a) - key(b));
}

/** One content of a plan and the images that need it, in the order of the plan. */
export interface NeededContent {
  readonly descriptor: Descriptor;
  readonly images: PlannedImage[];
}

/** Every distinct content of some images, or those that `isWanted` lets pass, in the order of the plan. */
export function contentsOf(
  images: readonly PlannedImage[],
  isWanted: (node: PlannedNode) => boolean = () => true,
): NeededContent[] {
  const found = new Map<Digest, NeededContent>();
  for (const image of images) {
    for (const node of image.nodes) {
      if (!isWanted(node)) continue;
      const content = found.get(node.descriptor.digest) ?? { descriptor: node.descriptor, images: [] };
      found.set(node.descriptor.digest, content);
      content.images.push(image);
    }
  }
  return [...found.values()];
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
