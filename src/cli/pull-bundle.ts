/** List to bundle: plan, lay out, fill, prove, name. */
import type { BundleBase } from "../bundle/delta.ts";
import { discardPart } from "../bundle/part.ts";
import { partName } from "../bundle/part-file.ts";
import { checkBundlePath, followLink } from "../bundle/part-place.ts";
import type { BundleReader } from "../bundle/reader.ts";
import { volumeCount } from "../bundle/volumes/geometry.ts";
import { removeOtherVolumes } from "../bundle/volumes/name-volumes.ts";
import { checkWritable } from "../bundle/writable.ts";
import { BundleWriter } from "../bundle/writer.ts";
import type { AppError } from "../errors.ts";
import { formatBytes } from "../report/format.ts";
import type { ImageOutcome } from "../sync/copy.ts";
import { failedPlans, imageResults, RunFailure } from "../sync/outcome.ts";
import { type Plan, type PlanFailure, type PlannedImage, withoutImages } from "../sync/plan.ts";
import { verifyContent } from "../sync/verify.ts";
import { type BaseFigures, baseFigures, tellBase } from "./base-figures.ts";
import { Bases } from "./bases.ts";
import { layOutPlan } from "./bundle-plan.ts";
import { type PullPlanOptions, planPull, pullEnds, writerNotes } from "./pull-plan.ts";
import type { Registries } from "./registries.ts";
import type { SourcedRequest } from "./requests.ts";
import { Reuse } from "./reuse.ts";
import type { Session } from "./session.ts";
import { conclude, errorsOf, type TransferResult, transfer } from "./transfer.ts";
import { checkVolumes } from "./volume-size.ts";

export interface PullOptions extends PullPlanOptions {
  readonly path: string;
  /** The size of each volume but the last, in bytes; undefined for a bundle in one file. */
  readonly volumeBytes: number | undefined;
  /** Takes up nothing that an earlier run has left. */
  readonly fresh: boolean;
  /** Earlier bundles to take content over from. */
  readonly reuse: readonly string[];
  /** Receipts, and bundles that are at the target: what they have is left out. */
  readonly base: readonly string[];
}

/** What `pull --json` prints. */
export interface PullResult extends TransferResult {
  readonly bundle: {
    readonly path: string;
    readonly bytes: number;
    readonly volumes?: number;
    readonly base?: BaseFigures;
  };
}

/**
 * Pulls images into a bundle. Unless `keepGoing` is set, one image that fails leaves no bundle under the final
 * name: what has come so far waits in `PATH.part` for the next run. Throws RunFailure, DISK, CONFLICT.
 */
export async function pullBundle(
  requests: readonly SourcedRequest[],
  registries: Registries,
  session: Session,
  { path, ...others }: PullOptions,
): Promise<PullResult> {
  // The file behind a link is replaced, beside its own part, and not the link.
  const options = { ...others, path: await followLink(path) };
  // Nobody should wait for a thousand images to be resolved to learn of a typing error.
  await checkBundlePath(options.path);
  await checkWritable(options.path);
  await using bases = await Bases.open(options.base, options.path);
  await using reuse = await Reuse.open({ ...options, emit: session.emit });
  const known = [...reuse.manifests, ...bases.manifests];
  const pulled = await planPull(requests, registries, session, { ...options, known });
  const { failures, manifests } = pulled;
  const plan = await bases.leaveOut(pulled.plan);
  const { dockerPlatform } = options;
  const base = bases.describe(plan);
  const layout = await layOutPlan(plan, manifests, { base, dockerPlatform });
  const { volumeBytes } = options;
  checkVolumes(layout.totalBytes, volumeBytes);
  if (
    reuse.existing?.layoutId === layout.id &&
    reuse.existing.isWholeIn(volumeBytes) &&
    (await isWhole(plan, reuse.existing, session))
  ) {
    await discardPart(options.path);
    const bundle = describe(options, layout.totalBytes, base);
    if (bundle.volumes !== undefined) await removeOtherVolumes(options.path, bundle.volumes);
    tellBase(options.path, { base, asked: options.base }, session);
    return { ...conclude(plan.images.map(unchanged), failures, session), bundle };
  }
  const writer = await BundleWriter.open(options.path, layout, {
    ...writerNotes(session),
    signal: session.signal,
    volumeBytes,
    fresh: options.fresh,
    reuse: reuse.bundles,
    onTakenUp: (bytes, ofBytes, unused) => {
      const rest = unused > 0 ? `, and ${formatBytes(unused)} that this list does not need` : "";
      const has = `${volumeBytes === undefined ? "has" : "have"} ${formatBytes(bytes)} of ${formatBytes(ofBytes)}`;
      session.note(`going on with ${partName({ path: options.path, volumeBytes })}, which ${has}${rest}`);
    },
  });
  try {
    await writer.keep(manifests);
    const outcomes = await transfer(plan, pullEnds(pulled, writer), session, options.failFast);
    const failed = new Set(outcomes.filter(({ error }) => error !== undefined).map(({ image }) => image));
    const wanted = options.keepGoing && !options.failFast;
    if (failed.size > 0 && (!wanted || failed.size === outcomes.length))
      throw unfinished(outcomes, failures, session, { ...options, replaces: reuse.existing !== undefined });
    const kept = withoutImages(plan, failed);
    const leaned = bases.describe(kept);
    const terms = { base: leaned, dockerPlatform };
    if (failed.size > 0) await writer.shrink(await layOutPlan(kept, manifests, terms), manifests);
    const bundle = describe(options, await writer.commit(), leaned);
    tellBase(options.path, { base: leaned, asked: options.base }, session);
    return { ...conclude(outcomes, failures, session), bundle };
  } catch (error) {
    // The first failure is the one to tell.
    await writer.abandon().catch(() => undefined);
    throw error;
  }
}

/** The bundle in the result. */
function describe(
  { path, volumeBytes }: Pick<PullOptions, "path" | "volumeBytes">,
  bytes: number,
  base: BundleBase | undefined,
): PullResult["bundle"] {
  return {
    path,
    bytes,
    ...(volumeBytes === undefined ? {} : { volumes: volumeCount(bytes, volumeBytes) }),
    ...(base === undefined ? {} : { base: baseFigures(base) }),
  };
}

/** True if the bundle that is there has all of the plan, proved by reading it. */
async function isWhole(plan: Plan, bundle: BundleReader, session: Session): Promise<boolean> {
  const { images, blobs, bytes } = plan.totals;
  session.emit({ type: "planned", images, blobs, bytes });
  const problems = await verifyContent(plan, bundle, { emit: session.emit, signal: session.signal });
  if (problems.length > 0) return false;
  for (const { source, root } of plan.images)
    session.emit({ type: "image-finished", image: source, digest: root.digest, unchanged: true });
  return true;
}

function unchanged(image: PlannedImage): ImageOutcome {
  return { image: { ...image, unchanged: true } };
}

function unfinished(
  outcomes: readonly ImageOutcome[],
  failures: readonly PlanFailure[],
  session: Session,
  { path, keepGoing, replaces }: Pick<PullOptions, "path" | "keepGoing"> & { readonly replaces: boolean },
): AppError {
  session.finish();
  const images = [...imageResults(outcomes), ...failedPlans(failures)];
  const errors = errorsOf(outcomes, failures);
  const state = replaces ? `${path} is still the earlier one` : `there is no ${path} yet`;
  const way = keepGoing ? "" : ", or add --keep-going to leave out what fails";
  const hint = `${state}; run the same command again to go on${way}`;
  return new RunFailure(images, errors, { hint, nothingDone: true });
}
