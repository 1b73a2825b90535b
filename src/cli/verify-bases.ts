/** What a delta leans on, read in the bundles that have it. */
import type { Bundle } from "../bundle/bundle.ts";
import { baseOf, holderNames, leavesOut } from "../bundle/delta.ts";
import type { Digest } from "../oci/digest.ts";
import { formatBytes, plural } from "../report/format.ts";
import { leavingOut, type Plan } from "../sync/plan.ts";
import { contentsOf } from "../sync/transfers.ts";
import { type Problem, type VerifyOptions, verifyContent } from "../sync/verify.ts";
import { findVolumeProblems, type VolumeProblem } from "./volume-problems.ts";

/** So many blobs of a volume are told one by one. */
const shownBlobs = 5;

interface BasesOptions extends VerifyOptions {
  readonly signal: AbortSignal;
}

/**
 * Reads what a delta leans on in the bundles that have it. What none of them has is a problem, and so is a volume that
 * is damaged or not there, if nobody else has what it holds. Throws DISK.
 */
export async function verifyBases(
  plan: Plan,
  delta: Bundle,
  bases: readonly Bundle[],
  call: BasesOptions,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const seen = new Set<Digest>();
  const damaged = new Map<Bundle, readonly Problem[]>();
  for (const base of bases) {
    const here = leavingOut(
      plan,
      ({ digest, size }) =>
        !leavesOut(delta, { digest, size }) ||
        !base.has(digest) ||
        base.lacking(digest).length > 0 ||
        seen.has(digest),
    );
    const found = await verifyContent(here, base, call);
    damaged.set(base, found);
    problems.push(
      ...found.map((problem) => ({
        ...problem,
        place: "base" as const,
        message: `${problem.message} (in ${base.path})`,
      })),
    );
    for (const { nodes } of here.images)
      for (const { role, descriptor } of nodes) if (role !== "manifest") seen.add(descriptor.digest);
  }
  const lost = await lostVolumes(plan, delta, { bases, damaged, seen }, call);
  return [...problems, ...lost, ...lostBlobs(plan, delta, bases, seen)];
}

/** The volumes of the bases that hold something which nobody else has, and are missing or damaged. */
async function lostVolumes(
  plan: Plan,
  delta: Bundle,
  {
    bases,
    damaged,
    seen,
  }: {
    readonly bases: readonly Bundle[];
    readonly damaged: ReadonlyMap<Bundle, readonly Problem[]>;
    readonly seen: Set<Digest>;
  },
  { signal }: BasesOptions,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const base of bases) {
    const wrong = damaged.get(base) ?? [];
    const digests = new Set(wrong.map(({ digest }) => digest));
    const left = leavingOut(
      plan,
      ({ digest, size }) =>
        !leavesOut(delta, { digest, size }) ||
        !base.has(digest) ||
        (seen.has(digest) && !digests.has(digest)),
    );
    for (const volume of await findVolumeProblems(base, withoutManifests(left), wrong, signal)) {
      if (volume.blobs.length === 0) continue;
      problems.push({
        place: "base",
        images: [...new Set(volume.blobs.flatMap(({ images }) => images))],
        message: describe(volume, base.path),
      });
    }
    for (const { nodes } of left.images) for (const { descriptor } of nodes) seen.add(descriptor.digest);
  }
  return problems;
}

function withoutManifests(plan: Plan): Plan {
  const images = plan.images.map((image) => ({
    ...image,
    nodes: image.nodes.filter(({ role }) => role !== "manifest"),
  }));
  return { ...plan, images };
}

function describe({ message, blobs, file, state }: VolumeProblem, base: string): string {
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  const names = blobs.slice(0, shownBlobs).map(({ digest }) => digest);
  const more = blobs.length > shownBlobs ? ` and ${blobs.length - shownBlobs} more` : "";
  const way = state === "missing" ? `put ${file} beside the others` : `copy ${file} again`;
  return `${message}; it holds all or part of ${plural(blobs.length, "blob")} (${formatBytes(bytes)}) of ${base} that the delta leans on: ${names.join(", ")}${more}; ${way}`;
}

/** What the delta leans on and none of the bases has. */
function lostBlobs(
  plan: Plan,
  delta: Bundle,
  bases: readonly Bundle[],
  seen: ReadonlySet<Digest>,
): readonly Problem[] {
  const names = bases.map(({ path }) => path).join(", ");
  const leaned = baseOf(delta);
  const lost = new Map(leaned?.blobs.map((blob) => [blob.digest, blob]));
  const unproved = contentsOf(
    plan.images,
    ({ descriptor }) => leavesOut(delta, descriptor) && !seen.has(descriptor.digest),
  );
  return unproved.map(({ descriptor, images }) => {
    const { digest } = descriptor;
    const blob = lost.get(digest);
    const had =
      leaned === undefined || blob === undefined ? "" : `; ${holderNames(leaned, blob).join(", ")} had it`;
    return {
      place: "base",
      digest,
      images: images.map(({ source }) => source),
      message: `${digest} is not in ${names}${had}`,
    };
  });
}
