/** A delta meets its target: what it leans on is proved to be there, and read from there where it cannot be mounted. */
import { type BundleBase, baseOf, leavesOut } from "../bundle/delta.ts";
import { hasSeveralPlaces, type SeveralPlaces, type Source } from "../content/content.ts";
import { goesBy, type PassingSource } from "../content/passage.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { proveLeaning } from "../sync/leaning.ts";
import type { Plan } from "../sync/plan.ts";
import { leansOn } from "./base-figures.ts";
import { LackingBase } from "./lacking-base.ts";
import type { Registries } from "./registries.ts";
import { type RegistryTarget, targetText } from "./requests.ts";
import type { Session } from "./session.ts";
import { registryTarget } from "./transfer.ts";

export interface LeaningSide {
  /** Where the content of the images is read. */
  readonly source: Source;
  /** What has to be done before anything moves; left out for a bundle that is whole. */
  readonly prove?: (plan: Plan) => Promise<Plan>;
}

/** A bundle as one side of a push: itself if it is whole, otherwise with the proof of what it leans on. */
export function leaningSide(
  bundle: Source & { readonly path: string },
  registries: Registries,
  session: Session,
  target: RegistryTarget,
): LeaningSide {
  const { path } = bundle;
  const base = baseOf(bundle);
  if (base === undefined) return { source: bundle };
  let holders: ReadonlyMap<Digest, string> = new Map();
  const source: Source & SeveralPlaces & Partial<PassingSource> = {
    ...(goesBy(bundle)
      ? {
          replayBytes: bundle.replayBytes,
          settle: (digest, offset) => bundle.settle(digest, offset),
        }
      : {}),
    distrust: (part) => !leavesOut(bundle, part) && hasSeveralPlaces(bundle) && bundle.distrust(part),
    resolve: async (reference, call) => await bundle.resolve(reference, call),
    manifest: async (reference, call) => await bundle.manifest(reference, call),
    open: async (descriptor, call) => {
      const holder = leavesOut(bundle, descriptor) ? holders.get(descriptor.digest) : undefined;
      const from = holder === undefined ? bundle : registries.repository(target.host, holder);
      return await from.open(descriptor, call);
    },
  };
  const prove = async (plan: Plan): Promise<Plan> => {
    const registry = targetText(target);
    session.emit({
      type: "note",
      message: `${path} is a delta, and ${registry} is asked first: ${leansOn(base)}`,
    });
    const proved = await proveLeaning(plan, {
      isLeftOut: (part) => leavesOut(bundle, part),
      elsewhere: placesOf(base, target.prefix),
      target: registryTarget(registries, target),
      emit: session.emit,
      signal: session.signal,
    });
    if (proved.lacks.length > 0)
      throw new LackingBase({ path, base }, registry, proved.lacks, proved.refusal);
    holders = proved.holders;
    return proved.plan;
  };
  return { source, prove };
}

/** The repositories of the target that are said to have a blob. A receipt names them in full, a bundle without prefix. */
function placesOf(base: BundleBase, prefix: string): (part: Descriptor) => readonly string[] {
  const blobs = new Map(base.blobs.map((blob) => [blob.digest, blob]));
  return ({ digest }) => {
    const held = blobs.get(digest)?.heldBy ?? [];
    const places = held.flatMap(({ source, repositories }) =>
      base.sources[source]?.kind === "receipt" || prefix === ""
        ? repositories
        : repositories.map((repository) => `${prefix}/${repository}`),
    );
    return [...new Set(places)];
  };
}
