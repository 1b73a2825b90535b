/** Bundle or list to registry: what push and sync share. */
import type { LimitFunction } from "p-limit";
import type { Bundle } from "../bundle/bundle.ts";
import type { Source } from "../content/content.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import type { Passage } from "../content/passage.ts";
import type { AppError } from "../errors.ts";
import type { ImageOutcome } from "../sync/copy.ts";
import { makePlan, type Plan, type PlannedImage, type PlanRequest } from "../sync/plan.ts";
import type { ContentRules } from "./flags.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";
import { tellShared } from "./there-already.ts";
import { conclude, errorsOf, notBegun, registryTarget, type TransferResult, transfer } from "./transfer.ts";
import type { SourceVolumes } from "./volume-problems.ts";
import { surveyPlan } from "./volume-survey.ts";

/** The source side, whatever it is. */
export interface SourceSide {
  readonly request: (request: PlanRequest) => Source;
  readonly image: (image: PlannedImage) => Source;
  readonly limits: (image: PlannedImage) => readonly LimitFunction[];
  /** The order in which content comes, where it does so by itself. */
  readonly passage?: Passage;
  /** Told of what is going to be copied, before it begins. */
  readonly begin?: (plan: Plan) => void;
  /** Told of what became of it. Resolves with what was wrong with the source as a whole. */
  readonly end?: (outcomes: readonly ImageOutcome[]) => Promise<AppError | undefined>;
}

export interface CopyToRegistryOptions {
  readonly target: RegistryTarget;
  readonly failFast: boolean;
  readonly content: ContentRules;
  /** A source whose manifests are at hand: what its unchanged images have is mounted for the others. */
  readonly bundle?: Pick<Bundle, "manifest"> | undefined;
  /** Proves what the source leans on, before anything moves; gives the plan of what is left to move. */
  readonly prove?: ((plan: Plan) => Promise<Plan>) | undefined;
  /** For a source in volumes: see {@link SourceVolumes}. */
  readonly volumes?: SourceVolumes | undefined;
}

/** Copies what the target lacks. Throws RunFailure if any image failed; the others are done then. */
export async function copyToRegistry(
  requests: readonly PlanRequest[],
  source: SourceSide,
  registries: Registries,
  session: Session,
  options: CopyToRegistryOptions,
): Promise<TransferResult> {
  const manifests = new ManifestStore();
  const client = registries.client(options.target.host);
  const target = registryTarget(registries, options.target);
  // A target that cannot be reached is one error, not one for each image.
  await client.connect(session.signal);
  const { plan, failures } = await makePlan(requests, {
    source: source.request,
    target,
    manifests,
    emit: session.emit,
    signal: session.signal,
    failFast: options.failFast,
    ...options.content,
  });
  if (options.bundle !== undefined)
    await tellShared(plan, options.bundle, (digest, repository) => client.uploads.tell(digest, repository));
  if (options.failFast && failures.length > 0) throw notBegun(plan, failures);
  const lacking = options.volumes?.lacking;
  const left = options.prove === undefined ? plan : await options.prove(plan);
  const survey =
    lacking === undefined
      ? { plan: left, waits: undefined, absent: [] }
      : await surveyPlan(left, { target, lacking, signal: session.signal });
  const ends = {
    waits: survey.waits,
    source: source.image,
    target,
    placeOf: (repository: string) => repository,
    // The target's is the last for everybody, also where the target is a source or a mirror as well.
    limits: (image: PlannedImage): readonly LimitFunction[] => [
      ...source.limits(image).filter((limit) => limit !== client.limit),
      client.limit,
    ],
    manifests,
    passage: source.passage,
  };
  source.begin?.(survey.plan);
  const outcomes = await transfer(survey.plan, ends, session, options.failFast);
  await options.volumes?.keep(survey.absent, errorsOf(outcomes, []));
  const problem = await source.end?.(outcomes);
  const result = conclude(outcomes, failures, session);
  if (problem !== undefined) throw problem;
  return result;
}
