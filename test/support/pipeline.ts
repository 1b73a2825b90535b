/** The program's pipeline without its command line: what pull, verify and push do, inside the test's process. */
import { setImmediate } from "node:timers/promises";
import pLimit from "p-limit";
import type { BundleReader } from "../../src/bundle/reader.ts";
import { BundleWriter } from "../../src/bundle/writer.ts";
import { bundleRequests, layOutPlan } from "../../src/cli/bundle-plan.ts";
import { ManifestStore } from "../../src/content/manifest-store.ts";
import type { Clock } from "../../src/content/retry.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { RegistryClient } from "../../src/registry/client.ts";
import { RegistryRepository } from "../../src/registry/repository.ts";
import { copyPlan, type ImageOutcome } from "../../src/sync/copy.ts";
import type { TransferEvent } from "../../src/sync/events.ts";
import {
  makePlan,
  type Plan,
  type PlanFailure,
  type PlanRequest,
  withoutImages,
} from "../../src/sync/plan.ts";
import { type Problem, verifyContent } from "../../src/sync/verify.ts";
import type { TestRegistry } from "../registry/registry.ts";

/** A clock that never waits, so that tests of retries do not either. */
export const eagerClock: Clock = {
  now: () => performance.now(),
  sleep: async (_ms, signal) => {
    await setImmediate();
    signal?.throwIfAborted();
  },
  random: () => 0,
};

/** One image to pull or sync, with the registry that has it. */
export interface WantedImage extends PlanRequest {
  readonly registry: TestRegistry;
  readonly repository: string;
}

/** `wanted(registry, "team/app:1.0")`. `as`: repository and tag in the target; the same if left out. */
export function wanted(
  registry: TestRegistry,
  name: string,
  options: { readonly platforms?: readonly string[]; readonly as?: string } = {},
): WantedImage {
  const parts = (text: string): [string, string] => {
    const at = text.lastIndexOf(":");
    return [text.slice(0, at), text.slice(at + 1)];
  };
  const [repository, tag] = parts(name);
  const [targetRepository, targetTag] = parts(options.as ?? name);
  return {
    registry,
    repository,
    image: `${registry.host}/${name}`,
    reference: tag,
    platforms: (options.platforms ?? []).map(parsePlatform),
    target: { repository: targetRepository, tag: targetTag },
    place: "test",
  };
}

export interface RunOptions {
  readonly concurrency?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: TransferEvent) => void;
  readonly failFast?: boolean;
}

/** What a run came to. */
export interface Run {
  readonly plan: Plan;
  readonly outcomes: readonly ImageOutcome[];
  readonly failures: readonly PlanFailure[];
  readonly events: readonly TransferEvent[];
}

/** Clients of the registries of a run. */
class Clients implements AsyncDisposable {
  readonly #clients = new Map<TestRegistry, RegistryClient>();
  readonly #repositories = new Map<string, RegistryRepository>();
  readonly #concurrency: number | undefined;

  constructor(concurrency: number | undefined) {
    this.#concurrency = concurrency;
  }

  client(registry: TestRegistry): RegistryClient {
    const client =
      this.#clients.get(registry) ??
      new RegistryClient(registry.host, {
        plainHttp: true,
        clock: eagerClock,
        concurrency: this.#concurrency,
      });
    this.#clients.set(registry, client);
    return client;
  }

  repository(registry: TestRegistry, repository: string): RegistryRepository {
    const key = `${registry.host}/${repository}`;
    const found = this.#repositories.get(key) ?? new RegistryRepository(this.client(registry), repository);
    this.#repositories.set(key, found);
    return found;
  }

  /** Finds the repository behind a request or a planned image by the image's name. */
  sources(images: readonly WantedImage[]): (image: string) => RegistryRepository {
    const byImage = new Map(images.map((image) => [image.image, image]));
    return (name) => {
      const image = byImage.get(name);
      if (image === undefined) throw new Error(`${name} was never wanted`);
      return this.repository(image.registry, image.repository);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }
}

/**
 * Pulls images into a bundle. It gets its name if all of them came, or, with `keepGoing`, without those that
 * failed in the transfer.
 */
export async function pull(
  images: readonly WantedImage[],
  path: string,
  options: RunOptions & {
    readonly keepGoing?: boolean;
    readonly fresh?: boolean;
    readonly reuse?: readonly BundleReader[];
  } = {},
): Promise<Run & { readonly committed: boolean }> {
  await using clients = new Clients(options.concurrency);
  const { events, emit, signal } = watch(options);
  const source = clients.sources(images);
  const manifests = new ManifestStore();
  const common = { manifests, emit, signal };
  const { plan, failures } = await makePlan(images, { ...common, source: ({ image }) => source(image) });
  const writer = await BundleWriter.open(path, await layOutPlan(plan, manifests), {
    clock: eagerClock,
    signal,
    fresh: options.fresh,
    reuse: options.reuse,
    onNote: (message) => emit({ type: "note", message }),
  });
  try {
    await writer.keep(manifests);
    const ends = {
      source: (image: { readonly source: string }) => source(image.source),
      target: () => writer,
      placeOf: () => "",
      limits: (image: { readonly source: string }) => [source(image.source).client.limit],
      manifestLimit: pLimit(4),
      manifests,
    };
    const outcomes = await copyPlan(plan, ends, {
      ...common,
      clock: eagerClock,
      failFast: options.failFast === true,
    });
    const failed = new Set(outcomes.flatMap(({ image, error }) => (error === undefined ? [] : image)));
    const committed = failed.size === 0 || options.keepGoing === true;
    if (committed && failed.size > 0)
      await writer.shrink(await layOutPlan(withoutImages(plan, failed), manifests), manifests);
    if (committed) await writer.commit();
    return { plan, outcomes, failures, events, committed };
  } finally {
    await writer.abandon();
  }
}

/** Pushes an open bundle, or syncs images, into a registry. */
export async function copyTo(
  target: TestRegistry,
  from: BundleReader | readonly WantedImage[],
  options: RunOptions & { readonly prefix?: string } = {},
): Promise<Run> {
  await using clients = new Clients(options.concurrency);
  const { events, emit, signal } = watch(options);
  const bundle = "images" in from ? from : undefined;
  const images = "images" in from ? [] : from;
  const requests = bundle === undefined ? images : bundleRequests(bundle, { prefix: options.prefix ?? "" });
  const registrySource = clients.sources(images);
  const source = (image: string): BundleReader | RegistryRepository => bundle ?? registrySource(image);
  const manifests = new ManifestStore();
  const repository = (name: string): RegistryRepository => clients.repository(target, name);
  const common = { manifests, emit, signal };
  const { plan, failures } = await makePlan(requests, {
    ...common,
    source: ({ image }) => source(image),
    target: repository,
    failFast: options.failFast === true,
  });
  const ends = {
    source: (image: { readonly source: string }) => source(image.source),
    target: repository,
    placeOf: (name: string) => name,
    limits: () => [clients.client(target).limit],
    manifestLimit: pLimit(4),
    manifests,
  };
  const outcomes = await copyPlan(plan, ends, {
    ...common,
    clock: eagerClock,
    failFast: options.failFast === true,
  });
  return { plan, outcomes, failures, events };
}

/** What is wrong with a bundle, as `verify` finds it. */
export async function findProblems(bundle: BundleReader): Promise<readonly Problem[]> {
  const emit = (): void => undefined;
  const manifests = new ManifestStore();
  const requests = bundleRequests(bundle, { prefix: "" });
  const { plan, failures } = await makePlan(requests, { source: () => bundle, manifests, emit });
  const broken = failures.map(({ image, error }) => ({
    place: "bundle" as const,
    images: [image],
    message: error.message,
  }));
  return [...broken, ...(await verifyContent(plan, bundle, { emit }))];
}

function watch(options: RunOptions): {
  readonly events: TransferEvent[];
  readonly emit: (event: TransferEvent) => void;
  readonly signal: AbortSignal;
} {
  const events: TransferEvent[] = [];
  const emit = (event: TransferEvent): void => {
    events.push(event);
    options.onEvent?.(event);
  };
  return { events, emit, signal: options.signal ?? new AbortController().signal };
}
