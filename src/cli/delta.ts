/** A delta meets its target: what it leans on is proved to be there, and read from there where it cannot be mounted. */
import type { Bundle } from "../bundle/bundle.ts";
import { baseOf, leavesOut } from "../bundle/delta.ts";
import { hasSeveralPlaces, type SeveralPlaces, type Source } from "../content/content.ts";
import { goesBy, type PassingSource } from "../content/passage.ts";
import type { Digest } from "../oci/digest.ts";
import { proveLeaning } from "../sync/leaning.ts";
import type { Plan } from "../sync/plan.ts";
import { leansOn } from "./base-figures.ts";
import { LackingBase } from "./lacking-base.ts";
import { placesOf } from "./leaned-places.ts";
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
  bundle: Bundle,
  registries: Registries,
  session: Session,
  { target, template }: { readonly target: RegistryTarget; readonly template: string | undefined },
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
    const places = placesOf(base, bundle.images, { prefix: target.prefix, template });
    const { uploads } = registries.client(target.host);
    const proved = await proveLeaning(plan, {
      isLeftOut: (part) => leavesOut(bundle, part),
      // Nobody but this machine may know where its earlier pushes went.
      elsewhere: async (part) => [...places(part), ...(await uploads.elsewhere(part.digest, ""))],
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
