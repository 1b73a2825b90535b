/** A part of an image in a plan. */
import type { Descriptor } from "../oci/descriptor.ts";

export type NodeRole = "manifest" | "config" | "layer";

export interface PlannedNode {
  readonly role: NodeRole;
  readonly descriptor: Descriptor;
}

/** True for configs and layers. */
export function isBlob({ role }: PlannedNode): boolean {
  return role !== "manifest";
}
