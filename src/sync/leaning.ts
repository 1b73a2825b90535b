/**
 * The proof that a target has what a plan leans on: parts that its source does not hold, since they were brought there
 * before. Nothing is sent before all of it is known to be there.
 */
import pLimit from "p-limit";
import { type CallOptions, canMount, type Target } from "../content/content.ts";
import { type AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Emit } from "./events.ts";
import { leavingOut, type Plan } from "./plan.ts";
import { collectTransfers, keyOf, type Need, type Transfer } from "./transfers.ts";

export interface LeaningOptions extends CallOptions {
  /** True for the parts that the source does not hold. */
  readonly isLeftOut: (part: Descriptor) => boolean;
  /** Other repositories of the target that are said to have a part. */
  readonly elsewhere: (part: Descriptor) => Promise<readonly string[]>;
  readonly target: (repository: string) => Target;
  readonly emit: Emit;
}

/** A part that the target has nowhere, where somebody needs it. */
export interface Lack {
  readonly part: Descriptor;
  readonly repository: string;
  /** The images in this repository that need it. */
  readonly images: readonly string[];
}

/** What came of the proof. */
export interface Leaning {
  /** The plan without what is where it has to be. */
  readonly plan: Plan;
  /** Everything that is missing; nothing was mounted unless this is empty. */
  readonly lacks: readonly Lack[];
  /** Repositories of the target that have a part: what refuses to be mounted can be read there. */
  readonly holders: ReadonlyMap<Digest, string>;
  /** A registry's refusal to tell, if there was one: it counts as missing. */
  readonly refusal: AppError | undefined;
}

const askConcurrency = 16;

/**
 * Asks the target for every part that the plan leans on, in every repository that needs it. What is in another
 * repository is mounted, if nothing at all is missing; what cannot be mounted stays in the plan. Throws what keeps a
 * target from answering.
 */
export async function proveLeaning(plan: Plan, options: LeaningOptions): Promise<Leaning> {
  const transfers = collectTransfers(plan.images, (repository) => repository).filter(({ descriptor }) =>
    options.isLeftOut(descriptor),
  );
  const prover = new Prover(options);
  const needs = transfers.flatMap(({ needs: all }) => [...all.values()]);
  options.emit({
    type: "planned",
    images: plan.images.length,
    blobs: needs.length,
    bytes: transfers.reduce((sum, { descriptor, needs: { size } }) => sum + descriptor.size * size, 0),
  });
  const limit = pLimit(askConcurrency);
  const absent = (await limit.map(transfers, async (transfer) => await prover.look(transfer))).flat();
  const lacks = absent.filter(({ descriptor }) => !prover.holders.has(descriptor.digest));
  if (lacks.length === 0)
    await limit.map(absent, async ({ descriptor, need }) => await prover.mount(descriptor, need));
  return {
    plan: leavingOut(plan, ({ digest }, { target }) => prover.there.has(keyOf(target.repository, digest))),
    lacks: lacks.map(({ descriptor, need }) => ({
      part: descriptor,
      repository: need.repository,
      images: need.images.map(({ source }) => source),
    })),
    holders: prover.holders,
    refusal: prover.refusal,
  };
}

interface AbsentPart {
  readonly descriptor: Descriptor;
  readonly need: Need;
}

class Prover {
  readonly #options: LeaningOptions;
  /** What is where it has to be, by repository and digest. */
  readonly there = new Set<string>();
  readonly holders = new Map<Digest, string>();
  refusal: AppError | undefined;

  constructor(options: LeaningOptions) {
    this.#options = options;
  }

  /** Looks for one part wherever it is needed, and otherwise wherever it may be. Gives the places that lack it. */
  async look({ descriptor, needs }: Transfer): Promise<readonly AbsentPart[]> {
    const absent: AbsentPart[] = [];
    for (const need of needs.values()) {
      if (!(await this.#has(descriptor, need.repository))) {
        absent.push({ descriptor, need });
        continue;
      }
      this.there.add(keyOf(need.repository, descriptor.digest));
      this.holders.set(descriptor.digest, need.repository);
      this.#options.emit({ type: "blob-skipped", size: descriptor.size, reason: "exists" });
    }
    if (absent.length === 0 || this.holders.has(descriptor.digest)) return absent;
    for (const repository of await this.#options.elsewhere(descriptor)) {
      if (needs.has(repository) || !(await this.#has(descriptor, repository))) continue;
      this.holders.set(descriptor.digest, repository);
      break;
    }
    return absent;
  }

  /** Takes a part over from the repository that has it. Where that is refused it has to be sent, which is no failure. */
  async mount(descriptor: Descriptor, { repository }: Need): Promise<void> {
    const { signal, emit } = this.#options;
    const target = this.#options.target(repository);
    const holder = this.holders.get(descriptor.digest);
    if (holder === undefined || !canMount(target) || !(await target.mount(descriptor, holder, { signal })))
      return;
    this.there.add(keyOf(repository, descriptor.digest));
    emit({ type: "blob-skipped", size: descriptor.size, reason: "mounted" });
  }

  async #has(descriptor: Descriptor, repository: string): Promise<boolean> {
    const { signal, target } = this.#options;
    try {
      signal?.throwIfAborted();
      return await target(repository).has(descriptor, { signal });
    } catch (error) {
      // Registries that hide repositories answer so for one that does not exist yet.
      if (!isAppError(error, "NOT_FOUND", "AUTH", "DENIED")) throw error;
      this.refusal ??= error;
      return false;
    }
  }
}
