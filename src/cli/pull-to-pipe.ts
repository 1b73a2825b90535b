/** List to standard output: the bytes of the bundle in their order, with nothing on the disk. */
import { type ByteSink, PipeWriter } from "../bundle/pipe/pipe-writer.ts";
import { failedPlans, imageResults, RunFailure } from "../sync/outcome.ts";
import { baseFigures, tellBase } from "./base-figures.ts";
import { Bases } from "./bases.ts";
import { pipeName } from "./bundle-path.ts";
import { layOutPlan } from "./bundle-plan.ts";
import type { PullOptions, PullResult } from "./pull-bundle.ts";
import { planPull, pullEnds, writerNotes } from "./pull-plan.ts";
import type { Registries } from "./registries.ts";
import type { SourcedRequest } from "./requests.ts";
import { Reuse } from "./reuse.ts";
import type { Session } from "./session.ts";
import { conclude, errorsOf, transfer } from "./transfer.ts";

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
  const known = [...reuse.manifests, ...bases.manifests];
  const pulled = await planPull(requests, registries, session, { ...options, known });
  const { failures, manifests } = pulled;
  const plan = await bases.leaveOut(pulled.plan);
  const base = bases.describe(plan);
  tellBase("the bundle in the pipe", { base, asked: options.base }, session);
  const layout = await layOutPlan(plan, manifests, { base, dockerPlatform: options.dockerPlatform });
  const writer = await PipeWriter.begin(options.output, layout, manifests, {
    ...writerNotes(session),
    reuse: reuse.bundles,
  });
  const ends = { ...pullEnds(pulled, writer), passage: writer };
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
