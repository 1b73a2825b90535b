/** A sync between registries inside the cross-cutting assertions: plan and copy with clients that are looked at. */
import pLimit from "p-limit";
import { ManifestStore } from "../../src/content/manifest-store.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { copyPlan } from "../../src/sync/copy.ts";
import type { TransferEvent } from "../../src/sync/events.ts";
import { makePlan, type PlanOptions, type PlanRequest } from "../../src/sync/plan.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { FakeClock } from "../registry-client/support.ts";
import type { Run } from "../support/pipeline.ts";
import type { Connect } from "./support.ts";

/** Both sides, and what to copy of `team/app` in the source. */
export interface SyncOptions extends Pick<PlanOptions, "allowMissing" | "includeForeign"> {
  readonly from: TestRegistry;
  readonly to: TestRegistry;
  /** Tag or digest; `1.0` if left out. */
  readonly reference?: string;
  readonly platforms?: readonly string[];
  /** Certificates of the CAs to trust, as PEM. */
  readonly ca?: readonly string[];
}

/** A run with what the clients and the pipeline warned of. */
export type SyncRun = Run & { readonly warnings: readonly string[] };

/** Copies `team/app` to `team/app:1.0` of the target. */
export async function sync(connect: Connect, options: SyncOptions): Promise<SyncRun> {
  const { from, to, reference = "1.0", platforms = [], ca = [] } = options;
  const clock = new FakeClock(0);
  const source = connect(from, { plainHttp: true, ca });
  const target = connect(to, { plainHttp: true, ca });
  const repositories = new Map<string, RegistryRepository>();
  const repository = (name: string): RegistryRepository => {
    const found = repositories.get(name) ?? target.repository(name);
    repositories.set(name, found);
    return found;
  };
  const read = source.repository("team/app");
  const events: TransferEvent[] = [];
  const manifests = new ManifestStore();
  const common = { manifests, emit: (event: TransferEvent) => void events.push(event) };
  const request: PlanRequest = {
    image: `${from.host}/team/app:1.0`,
    reference,
    platforms: platforms.map(parsePlatform),
    target: { repository: "team/app", tag: "1.0" },
    place: "test",
  };
  const { allowMissing, includeForeign } = options;
  const { plan, failures } = await makePlan([request], {
    ...common,
    source: () => read,
    target: repository,
    allowMissing,
    includeForeign,
  });
  const ends = {
    source: () => read,
    target: repository,
    placeOf: (name: string) => name,
    limits: () => [target.client.limit],
    manifestLimit: pLimit(4),
    manifests,
  };
  const signal = new AbortController().signal;
  const outcomes = await copyPlan(plan, ends, { emit: common.emit, signal, clock });
  const told = events.flatMap((event) => (event.type === "warning" ? event.message : []));
  return { plan, failures, outcomes, events, warnings: [...source.warnings, ...target.warnings, ...told] };
}

/** The one error of a run; undefined if there is none. */
export function errorOf(run: Run): Error | undefined {
  return [...run.failures, ...run.outcomes].flatMap(({ error }) => error ?? [])[0];
}
