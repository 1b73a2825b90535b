/** List to standard output: the bytes of the bundle in their order, with nothing on the disk. */
import { type ByteSink, PipeWriter } from "../bundle/pipe/pipe-writer.ts";
import { KnownManifests } from "../content/known-manifests.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { systemClock } from "../content/retry.ts";
import { failedPlans, imageResults, RunFailure } from "../sync/outcome.ts";
import { makePlan } from "../sync/plan.ts";
import { baseFigures, tellBase } from "./base-figures.ts";
import { Bases } from "./bases.ts";
import { pipeName } from "./bundle-path.ts";
import { layOutPlan } from "./bundle-plan.ts";
import { notPulledHint, type PullOptions, type PullResult } from "./pull-bundle.ts";
import type { Registries } from "./registries.ts";
import type { SourcedRequest } from "./requests.ts";
import { Reuse } from "./reuse.ts";
import type { Session } from "./session.ts";
import { conclude, errorsOf, notBegun, registrySources, transfer } from "./transfer.ts";

/**
 * Pulls images into a pipe. What fails before the first byte is out is left out with `keepGoing`; after that any
 * failure ends the stream before its end, so that whoever reads it knows. Throws RunFailure, DISK.
 */
export async function pullToPipe(
  requests: readonly SourcedRequest[],
  registries: Registries,
  session: Session,
  options: Omit<PullOptions, "path" | "fresh" | "volumeBytes"> & { readonly output: ByteSink },
): Promise<PullResult> {
  await using bases = await Bases.open(options.base, undefined);
  await using reuse = await Reuse.open({
    path: pipeName,
    fresh: true,
    reuse: options.reuse,
    emit: session.emit,
  });
  const manifests = new ManifestStore();
  const sources = registrySources(registries, requests);
  const known = [...reuse.manifests, ...bases.manifests];
  const { plan: whole, failures } = await makePlan(requests, {
    source: (request) =>
      known.length === 0 ? sources.request(request) : new KnownManifests(sources.request(request), known),
    manifests,
    emit: session.emit,
    signal: session.signal,
    failFast: options.failFast,
    ...options.content,
  });
  const plan = await bases.leaveOut(whole);
  if (plan.images.length === 0 || (failures.length > 0 && (!options.keepGoing || options.failFast)))
    throw notBegun(plan, failures, plan.images.length === 0 ? undefined : notPulledHint(options.keepGoing));
  const base = bases.describe(plan);
  tellBase("the bundle in the pipe", { base, asked: options.base }, session);
  const writer = await PipeWriter.begin(options.output, await layOutPlan(plan, manifests, base), manifests, {
    clock: systemClock,
    reuse: reuse.bundles,
    onNote: (message) => session.emit({ type: "note", message }),
    onRetry: (what, attempt, delayMs, cause) =>
      session.emit({ type: "retrying", what, attempt, delayMs, cause }),
  });
  const ends = {
    source: sources.image,
    target: () => writer,
    placeOf: () => "",
    limits: sources.limits,
    manifests,
    passage: writer,
  };
  // A bundle that lacks one blob is none.
  const outcomes = await transfer(plan, ends, session, true);
  if (outcomes.some(({ error }) => error !== undefined)) {
    session.finish();
    throw new RunFailure(
      [...imageResults(outcomes), ...failedPlans(failures)],
      errorsOf(outcomes, failures),
      {
        hint: "the bundle in the pipe has no end, so that nobody takes it for whole; run the same command again",
        nothingDone: true,
      },
    );
  }
  const bytes = await writer.commit();
  const bundle = { path: pipeName, bytes, ...(base === undefined ? {} : { base: baseFigures(base) }) };
  return { ...conclude(outcomes, failures, session), bundle };
}
