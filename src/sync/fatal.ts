/** Failures that are no image's fault: they end the whole run, once, and are told once. */
import type { AppError } from "../errors.ts";

/**
 * True for a failure of a disk of this machine: the bundle that is written has no room or no medium any more, or the
 * one that is read went away. Whatever image comes next would meet the same.
 */
export function concernsAll(error: AppError): boolean {
  return error.code === "DISK";
}
