/** List to bundle: plan, lay out, fill, prove, name. */
import { checkWritable } from "../bundle/writable.ts";
import { BundleWriter, checkBundlePath } from "../bundle/writer.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { systemClock } from "../content/retry.ts";
import type { AppError } from "../errors.ts";
import type { ImageOutcome } from "../sync/copy.ts";
import { failedPlans, imageResults, RunFailure } from "../sync/outcome.ts";
import { makePlan, type PlanFailure, withoutImages } from "../sync/plan.ts";
import { layOutPlan } from "./bundle-plan.ts";
import type { ContentRules } from "./flags.ts";
import type { Registries } from "./registries.ts";
import type { SourcedRequest } from "./requests.ts";
import type { Session } from "./session.ts";
import { conclude, errorsOf, notBegun, registrySources, type TransferResult, transfer } from "./transfer.ts";

/** `keepGoing`: it was asked for, and --fail-fast kept it from happening. */
const notPulledHint = (keepGoing: boolean): string =>
  `nothing was pulled; correct the list, or pull the others ${keepGoing ? "without --fail-fast" : "with --keep-going"}`;

export interface PullOptions {
  readonly path: string;
  /** Write the bundle without the images that fail. */
  readonly keepGoing: boolean;
  readonly failFast: boolean;
  readonly content: ContentRules;
}

/** What `pull --json` prints. */
export interface PullResult extends TransferResult {
  readonly bundle: { readonly path: string; readonly bytes: number };
}

/**
 * Pulls images into a bundle. Unless `keepGoing` is set, one image that fails leaves no bundle under the final
 * name: what has come so far waits in `PATH.part` for the next run. Throws RunFailure, DISK, CONFLICT.
 */
export async function pullBundle(
  requests: readonly SourcedRequest[],
  registries: Registries,
  session: Session,
  options: PullOptions,
): Promise<PullResult> {
  // Nobody should wait for a thousand images to be resolved to learn of a typing error.
  await checkBundlePath(options.path);
  await checkWritable(options.path);
  const manifests = new ManifestStore();
  const sources = registrySources(registries, requests);
  const { plan, failures } = await makePlan(requests, {
    source: sources.request,
    manifests,
    emit: session.emit,
    signal: session.signal,
    failFast: options.failFast,
    ...options.content,
  });
  if (plan.images.length === 0 || (failures.length > 0 && (!options.keepGoing || options.failFast)))
    throw notBegun(plan, failures, plan.images.length === 0 ? undefined : notPulledHint(options.keepGoing));
  const layout = await layOutPlan(plan, manifests);
  const writer = await BundleWriter.open(options.path, layout, {
    clock: systemClock,
    signal: session.signal,
    onReused: (size) => session.emit({ type: "blob-skipped", size, reason: "reused" }),
    onRetry: (what, attempt, delayMs, cause) =>
      session.emit({ type: "retrying", what, attempt, delayMs, cause }),
  });
  try {
    const ends = {
      source: sources.image,
      target: () => writer,
      // All repositories of a bundle share its one set of blobs.
      placeOf: () => "",
      limits: sources.limits,
      manifests,
    };
    const outcomes = await transfer(plan, ends, session, options.failFast);
    const failed = new Set(outcomes.filter(({ error }) => error !== undefined).map(({ image }) => image));
    const wanted = options.keepGoing && !options.failFast;
    if (failed.size > 0 && (!wanted || failed.size === outcomes.length))
      throw unfinished(outcomes, failures, session, options);
    if (failed.size > 0) await writer.shrink(await layOutPlan(withoutImages(plan, failed), manifests));
    const bundle = { path: options.path, bytes: await writer.commit() };
    return { ...conclude(outcomes, failures, session), bundle };
  } catch (error) {
    // The first failure is the one to tell.
    await writer.abandon().catch(() => undefined);
    throw error;
  }
}

function unfinished(
  outcomes: readonly ImageOutcome[],
  failures: readonly PlanFailure[],
  session: Session,
  options: PullOptions,
): AppError {
  session.finish();
  const images = [...imageResults(outcomes), ...failedPlans(failures)];
  const errors = errorsOf(outcomes, failures);
  const hint = `there is no ${options.path} yet; run the same command again to go on${options.keepGoing ? "" : ", or add --keep-going to leave out what fails"}`;
  return new RunFailure(images, errors, { hint, nothingDone: true });
}
