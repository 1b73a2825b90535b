/**
 * Everything a user may see while a command runs, as one union. The pipeline emits, reporters switch over it
 * exhaustively, and nothing else prints.
 */
import type { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";

/** Why a blob needed no transfer. */
export type SkipReason =
  | "exists" // the target had it
  | "mounted" // taken over from another repository of the target
  | "reused"; // taken over from an earlier run, or an earlier bundle

export type TransferEvent =
  /** Resolving begins. `images` is the number of images asked for. */
  | { readonly type: "resolving"; readonly images: number }
  /** One image is resolved. `done` counts those resolved so far, failed ones included. */
  | { readonly type: "resolved"; readonly image: string; readonly done: number; readonly images: number }
  /** The transfer begins. `bytes` is the size of all content that may have to move, each blob counted once a target repository. */
  | {
      readonly type: "planned";
      readonly images: number;
      readonly blobs: number;
      readonly bytes: number;
      /** It comes to what is planned already, and takes the place of nothing. */
      readonly more?: boolean;
    }
  /** An image is complete at the target: its last tag is set. `unchanged`: it was there before. */
  | {
      readonly type: "image-finished";
      readonly image: string;
      readonly digest: Digest;
      readonly unchanged: boolean;
    }
  | { readonly type: "image-failed"; readonly image: string; readonly error: AppError }
  /** What is there of it has been moved; the error says what it waits for. */
  | { readonly type: "image-waiting"; readonly image: string; readonly error: AppError }
  /** A transfer begins. `name` is what people know it by (a short digest); `size` in bytes. */
  | { readonly type: "blob-started"; readonly key: string; readonly name: string; readonly size: number }
  /** Absolute offset in bytes; may go back after a retry. */
  | { readonly type: "blob-progress"; readonly key: string; readonly offset: number }
  /** `reused`: so many bytes of it were there from an earlier run; none if left out. */
  | { readonly type: "blob-finished"; readonly key: string; readonly size: number; readonly reused?: number }
  | { readonly type: "blob-failed"; readonly key: string; readonly error: AppError }
  /** `key`: that of a transfer which had begun. */
  | {
      readonly type: "blob-skipped";
      readonly size: number;
      readonly reason: SkipReason;
      readonly key?: string;
    }
  /** Content is being read again to prove it (verify, or what an earlier run left). `size` in bytes. */
  | { readonly type: "verified"; readonly size: number }
  | {
      readonly type: "retrying";
      readonly what: string;
      readonly attempt: number;
      readonly delayMs: number;
      readonly cause: AppError;
    }
  /** A host has answered a request: what was told of an outage before is over. */
  | { readonly type: "answered"; readonly host: string }
  | { readonly type: "warning"; readonly message: string; readonly hint?: string | undefined }
  /** What is good to know, and nothing to worry about. */
  | { readonly type: "note"; readonly message: string }
  /** What a registry says of its limit on requests, as it stands now. */
  | ({ readonly type: "rate-limit" } & RegistryLimit)
  /** For those who look for a fault: what went over the wire. Emitted only where that is wanted. */
  | { readonly type: "debug"; readonly message: string };

/** The limit on requests of one registry. */
export interface RegistryLimit {
  readonly registry: string;
  /** Requests in a window. */
  readonly limit?: number;
  /** Requests that are left. */
  readonly remaining?: number;
  /** The length of the window. */
  readonly windowSeconds?: number;
}

/** Takes one event. Must not throw. */
export type Emit = (event: TransferEvent) => void;

/** The figures of the final summary. */
export interface Totals {
  readonly images: number;
  readonly failedImages: number;
  readonly unchangedImages: number;
  /** Left out if none has to wait for volumes. */
  readonly waitingImages?: number;
  /** Blobs and manifests that were transferred. */
  readonly blobs: number;
  readonly bytesMoved: number;
  readonly blobsSkipped: number;
  readonly bytesSkipped: number;
  readonly blobsMounted: number;
  readonly bytesMounted: number;
  readonly blobsReused: number;
  readonly bytesReused: number;
  /** What registries said last of their limits on requests; empty for those that have none. */
  readonly limits: readonly RegistryLimit[];
  /** Wall time in seconds. */
  readonly seconds: number;
}
