/** What a pull into a file and one into a pipe have in common: the plan, and the two ends. */
import type { PipeWriterOptions } from "../bundle/pipe/pipe-writer.ts";
import type { Target } from "../content/content.ts";
import { KnownManifests, type ManifestCache } from "../content/known-manifests.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { systemClock } from "../content/retry.ts";
import type { Platform } from "../oci/platform.ts";
import { makePlan, type Plan, type PlanFailure } from "../sync/plan.ts";
import { tellLackingPlatforms } from "./bundle-plan.ts";
import type { ContentRules } from "./flags.ts";
import type { Registries } from "./registries.ts";
import type { SourcedRequest } from "./requests.ts";
import type { Session } from "./session.ts";
import { notBegun, type RegistrySources, registrySources, type TransferEnds } from "./transfer.ts";

/** What is pulled, and from where. */
export interface PullPlan {
  readonly plan: Plan;
  readonly failures: readonly PlanFailure[];
  readonly manifests: ManifestStore;
  readonly sources: RegistrySources;
}

export interface PullPlanOptions {
  /** Write the bundle without the images that fail. */
  readonly keepGoing: boolean;
  readonly failFast: boolean;
  readonly content: ContentRules;
  /** What `docker load` is offered of every image; chosen for each by the usual rule if undefined. */
  readonly dockerPlatform: Platform | undefined;
}

/**
 * Plans a pull; manifests are looked for in `known` before they are asked for. Throws RunFailure if nothing is left to
 * pull, or if something failed and that is not wanted.
 */
export async function planPull(
  requests: readonly SourcedRequest[],
  registries: Registries,
  session: Session,
  options: PullPlanOptions & { readonly known: readonly ManifestCache[] },
): Promise<PullPlan> {
  const { keepGoing, failFast, content, dockerPlatform, known } = options;
  const manifests = new ManifestStore();
  const sources = registrySources(registries, requests);
  const { plan, failures } = await makePlan(requests, {
    source: (request) =>
      known.length === 0 ? sources.request(request) : new KnownManifests(sources.request(request), known),
    manifests,
    emit: session.emit,
    signal: session.signal,
    failFast,
    tellPlatforms: dockerPlatform !== undefined,
    ...content,
  });
  const isEmpty = plan.images.length === 0;
  if (isEmpty || (failures.length > 0 && (!keepGoing || failFast))) {
    const way = keepGoing ? "without --fail-fast" : "with --keep-going";
    const hint = `nothing was pulled; correct the list, or pull the others ${way}`;
    throw notBegun(plan, failures, isEmpty ? undefined : hint);
  }
  tellLackingPlatforms(plan, manifests, { dockerPlatform, emit: session.emit });
  return { plan, failures, manifests, sources };
}

/** The ends of a pull into a bundle: all repositories of it share its one set of blobs. */
export function pullEnds({ sources, manifests }: PullPlan, target: Target): TransferEnds {
  return {
    source: sources.image,
    target: () => target,
    placeOf: () => "",
    limits: sources.limits,
    manifests,
  };
}

/** What whoever writes a bundle tells the session. */
export function writerNotes(session: Session): Omit<PipeWriterOptions, "reuse"> {
  return {
    clock: systemClock,
    onNote: session.note,
    onRetry: (what, attempt, delayMs, cause) =>
      session.emit({ type: "retrying", what, attempt, delayMs, cause }),
  };
}
