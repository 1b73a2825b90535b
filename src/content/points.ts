/**
 * Named points of the protocols that survive a crash (the journal of a pull, the notes of uploads). In production
 * nobody listens, and reaching one does nothing; the crash tests load a subscriber beside the program that ends it
 * there.
 */
import { channel } from "node:diagnostics_channel";

const points = channel("mirror:point");

/** A point was reached: everything that it promises to be on the disk, or at the registry, is there. */
export function reached(name: string): void {
  if (points.hasSubscribers) points.publish({ name });
}
