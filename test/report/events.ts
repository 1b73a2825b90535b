/** Events and totals for the tests of reporters. */
import { AppError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Totals, TransferEvent } from "../../src/sync/events.ts";

export const MiB = 1024 * 1024;

export function started(key: string, size: number): TransferEvent {
  return { type: "blob-started", key, name: `sha256:${key.padEnd(12, "0")}`, size };
}

export function moved(key: string, offset: number): TransferEvent {
  return { type: "blob-progress", key, offset };
}

export function finished(image: string, unchanged = false): TransferEvent {
  return { type: "image-finished", image, digest: digestOf(Buffer.from("")), unchanged };
}

export function failed(image: string, message: string, hint?: string): TransferEvent {
  return { type: "image-failed", image, error: new AppError("NETWORK", message, { hint }) };
}

export function totals(figures: Partial<Totals>): Totals {
  return {
    images: 0,
    failedImages: 0,
    unchangedImages: 0,
    blobs: 0,
    bytesMoved: 0,
    blobsSkipped: 0,
    bytesSkipped: 0,
    blobsMounted: 0,
    bytesMounted: 0,
    blobsReused: 0,
    bytesReused: 0,
    limits: [],
    seconds: 0,
    ...figures,
  };
}
