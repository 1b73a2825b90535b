/** Who takes part in a copy, and how it is made: what the copier and the writer of manifests share. */
import type { LimitFunction } from "p-limit";
import type { Source, Target } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import type { Passage } from "../content/passage.ts";
import type { Clock } from "../content/retry.ts";
import type { AppError } from "../errors.ts";
import type { Emit } from "./events.ts";
import type { PlannedImage } from "./plan.ts";

/** Who meets whom: the two sides of a copy, as the command put them together. */
export interface CopyEnds {
  readonly source: (image: PlannedImage) => Source;
  readonly target: (repository: string) => Target;
  /** Repositories that share one storage have one place: each its own in a registry, all the same in a bundle. */
  readonly placeOf: (repository: string) => string;
  /** The limits on transfers of this image, the source's first. */
  readonly limits: (image: PlannedImage) => readonly LimitFunction[];
  /** Bounds the manifests, which must not queue behind blobs. */
  readonly manifestLimit: LimitFunction;
  readonly manifests: ManifestStore;
  /**
   * Why an image cannot be completed yet, though nothing is wrong: its source has only part of it (a bundle in volumes).
   * What the plan has of it is moved all the same. None has to wait if left out.
   */
  readonly waits?: ((image: PlannedImage) => AppError | undefined) | undefined;
  /** The order that a pipe at one of the ends demands; the largest blobs come first if left out. */
  readonly passage?: Passage | undefined;
}

export interface CopyOptions {
  readonly emit: Emit;
  readonly signal: AbortSignal;
  /** The first image that fails ends everything that is under way. */
  readonly failFast?: boolean;
  /** The system's if left out. */
  readonly clock?: Clock;
}
