/** What a delta leans on while it is made: earlier bundles, deltas among them, and receipts of registries. */
import { basename } from "node:path";
import type { Bundle } from "../bundle/bundle.ts";
import { type BaseSource, type BundleBase, baseOf, leavesOut } from "../bundle/delta.ts";
import { manifestsOf } from "../bundle/kept-manifests.ts";
import { openBundle } from "../bundle/open.ts";
import { looksLikeReceipt, readReceipt } from "../bundle/read-receipt.ts";
import type { ManifestCache } from "../content/known-manifests.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { isRepository } from "../oci/reference.ts";
import { leavingOut, type Plan } from "../sync/plan.ts";
import { refuseReplacing, refuseReplacingFurther } from "./base-guard.ts";
import { blobsByRepository } from "./bundle-blobs.ts";

/** For each blob, a delta names at most so many repositories of a base: it can be mounted from any one of them. */
const notedRepositories = 3;

/** One place that has a blob. */
interface Holder {
  readonly source: BaseSource;
  readonly repositories: readonly string[];
}

/** One file that was named as a base. */
interface Base {
  readonly source: BaseSource;
  /** Where there is one, it is called once, with all digests of the plan, before {@link holders} is asked. */
  readonly look?: (wanted: ReadonlySet<string>) => Promise<void>;
  /** Who has a blob; empty if nobody has. */
  readonly holders: (blob: Pick<Descriptor, "digest" | "size">) => readonly Holder[];
  readonly bundle?: Bundle;
}

/** The bases of a pull. Dispose of them with `await using`. */
export class Bases implements AsyncDisposable {
  readonly #bases: readonly Base[];

  private constructor(bases: readonly Base[]) {
    this.#bases = bases;
  }

  /**
   * Opens receipts and bundles, those of other tools too. Throws NOT_FOUND, DISK, BUNDLE or INTEGRITY for one that cannot
   * be read, USAGE for one that is also the bundle to write (`to`; undefined for none).
   */
  static async open(paths: readonly string[], to: string | undefined): Promise<Bases> {
    const bases: Base[] = [];
    try {
      const distinct = new Set(paths);
      if (to !== undefined) await refuseReplacing(to, distinct);
      for (const path of distinct)
        bases.push((await looksLikeReceipt(path)) ? await receiptBase(path) : await bundleBase(path));
      const bundles = bases.flatMap(({ bundle }) => bundle ?? []);
      if (to !== undefined)
        await refuseReplacingFurther(
          to,
          bundles.map((bundle) => ({
            path: bundle.path,
            fingerprint: bundle.fingerprint,
            base: baseOf(bundle),
          })),
        );
      return new Bases(bases);
    } catch (error) {
      await dispose(bases);
      throw error;
    }
  }

  /** Where to look for manifests, before they are fetched. */
  get manifests(): readonly ManifestCache[] {
    return this.#bases.flatMap(({ bundle }) => (bundle === undefined ? [] : [manifestsOf(bundle)]));
  }

  /** The plan without the blobs that a base has. Throws what keeps a base from being read. */
  async leaveOut(plan: Plan): Promise<Plan> {
    const wanted = new Set(
      plan.images.flatMap(({ nodes }) => nodes.map(({ descriptor }) => descriptor.digest)),
    );
    for (const { look } of this.#bases) await look?.(wanted);
    return leavingOut(plan, (part) => this.#holders(part).length > 0);
  }

  /** What a plan leans on that {@link leaveOut} made; undefined if that is nothing. */
  describe(plan: Plan): BundleBase | undefined {
    const needs = new Map<Digest, { readonly part: Descriptor; readonly neededBy: Set<string> }>();
    for (const { leansOn = [], target } of plan.images) {
      for (const { descriptor: part } of leansOn) {
        const need = needs.get(part.digest) ?? { part, neededBy: new Set() };
        needs.set(part.digest, need);
        need.neededBy.add(target.repository);
      }
    }
    if (needs.size === 0) return undefined;
    const holders = new Map([...needs.values()].map(({ part }) => [part.digest, this.#holders(part)]));
    const sources = this.#inOrder([...holders.values()].flat().map(({ source }) => source));
    const places = new Map(sources.map(({ fingerprint }, place) => [fingerprint, place]));
    const blobs = [...needs.values()]
      .sort((a, b) => (a.part.digest < b.part.digest ? -1 : 1))
      .map(({ part: { digest, size }, neededBy }) => ({
        digest,
        size,
        neededBy: [...neededBy].sort(),
        heldBy: (holders.get(digest) ?? []).map(({ source, repositories }) => ({
          source: places.get(source.fingerprint) ?? 0,
          repositories: [...repositories],
        })),
      }));
    return { sources, blobs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await dispose(this.#bases);
  }

  /** Some sources, each once, in the order in which they have to come to a target: as they were named, a delta last. */
  #inOrder(used: readonly BaseSource[]): BaseSource[] {
    const byFingerprint = new Map(used.map((source) => [source.fingerprint, source]));
    const order = this.#bases.flatMap(({ source, bundle }) => [
      ...((bundle === undefined ? undefined : baseOf(bundle))?.sources ?? []),
      source,
    ]);
    const ordered = order.flatMap(({ fingerprint }) => byFingerprint.get(fingerprint) ?? []);
    return [...new Set(ordered)];
  }

  /** Each source once, whichever of the bases leads to it. */
  #holders(blob: Pick<Descriptor, "digest" | "size">): readonly Holder[] {
    const found = new Map<Digest, Holder>();
    for (const { holders } of this.#bases)
      for (const holder of holders(blob))
        if (!found.has(holder.source.fingerprint)) found.set(holder.source.fingerprint, holder);
    return [...found.values()];
  }
}

async function dispose(bases: readonly Base[]): Promise<void> {
  for (const { bundle } of bases) await bundle?.[Symbol.asyncDispose]();
}

/**
 * What a registry has, by its receipt. The receipt is read twice: at the start, so that a bad one is refused before
 * anything is resolved, and again when the plan is known, so that only the blobs of the plan are kept in memory. The
 * receipt of a large registry lists millions of others.
 */
async function receiptBase(path: string): Promise<Base> {
  const { registry, fingerprint } = await readReceipt(path, () => undefined);
  const source: BaseSource = { kind: "receipt", name: basename(path), fingerprint, registry };
  const places = new Map<string, { readonly size: number; readonly repositories: string[] }>();
  return {
    source,
    look: async (wanted) => {
      const again = await readReceipt(path, ({ name, blobs }) => {
        // Nothing can be asked for there.
        if (!isRepository(name)) return;
        for (const [digest, size] of Object.entries(blobs)) {
          if (!wanted.has(digest)) continue;
          const entry = places.get(digest) ?? { size, repositories: [] };
          places.set(digest, entry);
          if (entry.repositories.length < notedRepositories) entry.repositories.push(name);
        }
      });
      if (again.fingerprint !== fingerprint)
        throw new AppError("BUNDLE", `Cannot read the receipt ${path}: it has changed while it was read`, {
          hint: "run the same command again",
        });
    },
    holders: ({ digest, size }) => {
      const entry = places.get(digest);
      return entry?.size === size ? [{ source, repositories: entry.repositories }] : [];
    },
  };
}

/** What a bundle holds; for a delta, also what it leans on, in the places that it names for that. */
async function bundleBase(path: string): Promise<Base> {
  const bundle = await openBundle(path, { asWhole: true, allowMissing: true });
  try {
    const { fingerprint } = bundle;
    const base = baseOf(bundle);
    const source: BaseSource = { kind: "bundle", name: basename(bundle.path), fingerprint };
    const repositories = await blobsByRepository(bundle, notedRepositories);
    const leaned = new Map(base?.blobs.map((blob) => [blob.digest, blob]));
    return {
      source,
      bundle,
      holders: (blob) => {
        if (leavesOut(bundle, blob)) {
          const further = leaned.get(blob.digest)?.heldBy ?? [];
          return further.flatMap(({ source: at, repositories: places }) => {
            const found = base?.sources[at];
            return found === undefined ? [] : [{ source: found, repositories: places }];
          });
        }
        const places = bundle.has(blob.digest) ? repositories.get(blob.digest) : undefined;
        return places === undefined ? [] : [{ source, repositories: places }];
      },
    };
  } catch (error) {
    await bundle[Symbol.asyncDispose]();
    throw error;
  }
}
