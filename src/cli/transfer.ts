/** The steps that pull, push and sync have in common: plan, copy, and the result of it all. */
import pLimit, { type LimitFunction } from "p-limit";
import type { Source } from "../content/content.ts";
import type { AppError } from "../errors.ts";
import type { RegistryRepository } from "../registry/repository.ts";
import { copyPlan, type ImageOutcome } from "../sync/copy.ts";
import type { CopyEnds } from "../sync/ends.ts";
import type { Totals } from "../sync/events.ts";
import { failedPlans, type ImageResult, imageResult, imageResults, RunFailure } from "../sync/outcome.ts";
import type { Plan, PlanFailure } from "../sync/plan.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget, SourcedRequest } from "./requests.ts";
import type { Session } from "./session.ts";

/** What `--json` prints of a transfer. */
export interface TransferResult {
  readonly images: readonly ImageResult[];
  readonly totals: Totals;
}

/** The ends of a transfer: how many manifests go at a time is the same for all. */
export type TransferEnds = Omit<CopyEnds, "manifestLimit">;

/** Manifests sent at a time: small requests, mostly waiting. */
const manifestConcurrency = 16;

/** Copies a plan, with progress. With `failFast`, the first failure ends everything that is under way. */
export async function transfer(
  plan: Plan,
  ends: TransferEnds,
  session: Session,
  failFast: boolean,
): Promise<readonly ImageOutcome[]> {
  session.emit({ type: "planned", ...totalsToMove(plan, ends.placeOf) });
  return await copyPlan(
    plan,
    { ...ends, manifestLimit: pLimit(manifestConcurrency) },
    {
      emit: session.emit,
      signal: session.signal,
      failFast,
    },
  );
}

/** The result of a transfer. Throws RunFailure if any image failed. */
export function conclude(
  outcomes: readonly ImageOutcome[],
  failures: readonly PlanFailure[],
  session: Session,
  headline = "",
): TransferResult {
  const images = [...imageResults(outcomes), ...failedPlans(failures)];
  const errors = errorsOf(outcomes, failures);
  const totals = session.finish(headline);
  if (errors.length === 0) return { images, totals };
  const done = images.some(({ status }) => status === "done" || status === "unchanged");
  const waits = errors.every(({ code }) => code === "PARTIAL") ? errors[0]?.hint : undefined;
  const hint = done ? "what is done is done: run the same command again for the rest" : undefined;
  throw new RunFailure(images, errors, { hint: waits ?? hint });
}

/** The failures of a run; images that were given up because of them have none of their own. */
export function errorsOf(
  outcomes: readonly ImageOutcome[],
  failures: readonly PlanFailure[],
): readonly AppError[] {
  return [
    ...outcomes.flatMap(({ error }) => (error === undefined || error.code === "INTERRUPTED" ? [] : error)),
    ...failures.map(({ error }) => error),
  ];
}

/** The failure of a run that ended with its plan. */
export function notBegun(plan: Plan, failures: readonly PlanFailure[], hint?: string): RunFailure {
  const images = [...plan.images.map((image) => imageResult(image)), ...failedPlans(failures)];
  return new RunFailure(images, errorsOf([], failures), { hint, nothingDone: true });
}

/** Where the images of a run come from, and the limits on transfers from there. */
export interface RegistrySources {
  readonly request: (request: { readonly image: string }) => Source;
  readonly image: (image: { readonly source: string }) => Source;
  readonly limits: (image: { readonly source: string }) => readonly LimitFunction[];
}

/** Looks up the source of each request and planned image: a repository, behind the mirrors of its registry. */
export function registrySources(
  registries: Registries,
  requests: readonly SourcedRequest[],
): RegistrySources {
  // One object for each repository, so that images of the same one can be told from those of others.
  const repositories = new Map<string, Source>();
  const byImage = new Map<string, { readonly source: Source; readonly host: string }>();
  for (const { image, host, repository } of requests) {
    const name = `${host}/${repository}`;
    const source = repositories.get(name) ?? registries.source(host, repository);
    repositories.set(name, source);
    byImage.set(image, { source, host });
  }
  const find = (image: string): { readonly source: Source; readonly host: string } => {
    const found = byImage.get(image);
    if (found === undefined) throw new Error(`${image} was never asked for`);
    return found;
  };
  return {
    request: ({ image }) => find(image).source,
    image: ({ source }) => find(source).source,
    limits: ({ source }) => registries.limits(find(source).host),
  };
}

/** The repositories of a target registry. */
export function registryTarget(
  registries: Registries,
  target: RegistryTarget,
): (repository: string) => RegistryRepository {
  return (repository) => registries.repository(target.host, repository);
}

/** Everything that a plan may have to move: each blob once for each place. */
function totalsToMove(
  plan: Plan,
  placeOf: (repository: string) => string,
): { images: number; blobs: number; bytes: number } {
  const seen = new Set<string>();
  let bytes = 0;
  for (const { nodes, target } of plan.images) {
    const place = placeOf(target.repository);
    for (const { descriptor } of nodes) {
      const key = `${place} ${descriptor.digest}`;
      if (seen.has(key)) continue;
      seen.add(key);
      bytes += descriptor.size;
    }
  }
  return { images: plan.images.length, blobs: seen.size, bytes };
}
