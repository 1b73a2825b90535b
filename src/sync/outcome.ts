/** The end of a run over many images: which are done, which failed, and the exit code that follows. */
import { AppError, type ErrorCode, exitCodes } from "../errors.ts";
import type { ImageOutcome } from "./copy.ts";
import type { PlannedNode } from "./node.ts";
import type { PlanFailure, PlannedImage } from "./plan.ts";

/** An image in the result of a command. */
export interface ImageResult {
  readonly image: string;
  readonly digest?: string;
  /** `repository:tag` in the target. */
  readonly target?: string;
  /** The digest at the source, where a choice of platforms made another one. */
  readonly original?: string;
  /** What a delta leaves out of it, since a base has it. Size in bytes. */
  readonly leftOut?: { readonly blobs: number; readonly bytes: number };
  /**
   * skipped: nothing is wrong with it, but it was not done since another one failed. waiting: volumes of its bundle are
   * not there.
   */
  readonly status: "done" | "unchanged" | "failed" | "skipped" | "waiting";
  readonly error?: { readonly code: ErrorCode; readonly message: string; readonly hint?: string };
}

export interface RunFailureOptions {
  readonly hint?: string | undefined;
  /** The images that did not fail are not done either: a bundle is whole or not there. */
  readonly nothingDone?: boolean;
}

/** Some or all images failed. Each failure has been reported as an event of its own. */
export class RunFailure extends AppError {
  readonly images: readonly ImageResult[];
  readonly #exitCode: number;

  constructor(images: readonly ImageResult[], errors: readonly AppError[], options: RunFailureOptions = {}) {
    const results: readonly ImageResult[] =
      options.nothingDone === true
        ? images.map((image) => (image.status === "failed" ? image : { ...image, status: "skipped" }))
        : images;
    const failed = images.filter((image) => image.status === "failed").length;
    const [first] = errors;
    // One image, one failure: its own code says more than "some failed".
    const code = images.length === 1 && first !== undefined ? first.code : "PARTIAL";
    const waiting = images.filter((image) => image.status === "waiting").length;
    const of = `of ${images.length} ${images.length === 1 ? "image" : "images"}`;
    const wait = `${waiting === 1 ? "waits" : "wait"} for volumes`;
    const waits = waiting === 0 ? "" : `, ${waiting} ${wait}`;
    super(code, failed === 0 && waiting > 0 ? `${waiting} ${of} ${wait}` : `${failed} ${of} failed${waits}`, {
      hint: options.hint,
      cause: first,
    });
    this.images = results;
    this.#exitCode = exitCodeOf(results, errors);
  }

  override get exitCode(): number {
    return this.#exitCode;
  }
}

/** The results of images that failed before anything could be planned for them. */
export function failedPlans(failures: readonly PlanFailure[]): readonly ImageResult[] {
  return failures.map(({ image, error }) => ({ image, status: "failed", error: describe(error) }));
}

/** The results of images that were copied, or were there before, or failed. */
export function imageResults(outcomes: readonly ImageOutcome[]): readonly ImageResult[] {
  return outcomes.map(({ image, error }) => imageResult(image, error));
}

/** The result of one image. */
export function imageResult(image: PlannedImage, error?: AppError): ImageResult {
  const { repository, tag } = image.target;
  return {
    image: image.source,
    digest: image.root.digest,
    target: tag === undefined ? `${repository}@${image.root.digest}` : `${repository}:${tag}`,
    ...(image.original === undefined ? {} : { original: image.original }),
    ...(image.leansOn === undefined ? {} : { leftOut: sumOf(image.leansOn) }),
    ...outcomeOf(image, error),
  };
}

function sumOf(nodes: readonly PlannedNode[]): { blobs: number; bytes: number } {
  return {
    blobs: nodes.length,
    bytes: nodes.reduce((sum, { descriptor }) => sum + descriptor.size, 0),
  };
}

function outcomeOf(image: PlannedImage, error: AppError | undefined): Pick<ImageResult, "status" | "error"> {
  if (error === undefined) return { status: image.unchanged ? "unchanged" : "done" };
  if (error.code === "PARTIAL") return { status: "waiting", error: describe(error) };
  return error.code === "INTERRUPTED" ? { status: "skipped" } : { status: "failed", error: describe(error) };
}

/** Damaged content outweighs all else; then comes whether anything was done at all. */
function exitCodeOf(images: readonly ImageResult[], errors: readonly AppError[]): number {
  if (errors.some((error) => error.code === "INTEGRITY")) return exitCodes.integrity;
  if (images.some(({ status }) => status === "done" || status === "unchanged")) return exitCodes.partial;
  const codes = new Set(errors.map((error) => error.exitCode));
  return codes.size === 1 ? (errors[0]?.exitCode ?? exitCodes.failed) : exitCodes.failed;
}

function describe(error: AppError): NonNullable<ImageResult["error"]> {
  return {
    code: error.code,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}
