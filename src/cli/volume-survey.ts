/**
 * A push from volumes of which some are not there: what they hold may be at the target from an earlier push. Images
 * that lack more than that wait for their volumes, while all else of them is sent.
 */
import pLimit from "p-limit";
import { type CallOptions, canMount, type Target } from "../content/content.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { plural } from "../report/format.ts";
import type { Plan, PlannedImage } from "../sync/plan.ts";
import { contentsOf } from "../sync/transfers.ts";

/** Questions to the target at a time. */
const concurrency = 16;
/** So many volumes are named in a line. */
const shownVolumes = 8;

/** What has become of a plan. */
export interface Survey {
  /** Without what is not there: neither here nor, as far as the images do not wait for it, to be sent. */
  readonly plan: Plan;
  /** Why an image cannot be completed yet. */
  readonly waits: (image: PlannedImage) => AppError | undefined;
  /** What is neither here nor at the target. */
  readonly absent: readonly Digest[];
}

export interface SurveyOptions extends CallOptions {
  readonly target: (repository: string) => Target;
  /** The file names of the volumes that hold some of a content and are not there. */
  readonly lacking: (digest: Digest) => readonly string[];
}

/** Asks the target for what is not in the volumes at hand. Throws what the target does. */
export async function surveyPlan(plan: Plan, options: SurveyOptions): Promise<Survey> {
  const absent = await findAbsent(plan, options);
  const waiting = new Map<PlannedImage, AppError>();
  const images = plan.images.map((image) => {
    const { repository } = image.target;
    const isAtHand = (digest: Digest): boolean => options.lacking(digest).length === 0;
    const volumes = image.nodes.flatMap(({ descriptor }) =>
      absent.get(descriptor.digest)?.has(repository) === true ? options.lacking(descriptor.digest) : [],
    );
    const partial = { ...image, nodes: image.nodes.filter(({ descriptor }) => isAtHand(descriptor.digest)) };
    if (volumes.length > 0) waiting.set(partial, waitsFor(image, [...new Set(volumes)].toSorted()));
    return partial;
  });
  return { plan: { ...plan, images }, waits: (image) => waiting.get(image), absent: [...absent.keys()] };
}

/** The repositories that lack content which is not at hand, after whatever can be mounted is. */
async function findAbsent(
  plan: Plan,
  { target, lacking, signal }: SurveyOptions,
): Promise<ReadonlyMap<Digest, ReadonlySet<string>>> {
  const limit = pLimit(concurrency);
  const wanted = contentsOf(plan.images, ({ descriptor }) => lacking(descriptor.digest).length > 0);
  const absent = new Map<Digest, Set<string>>();
  await Promise.all(
    wanted.map(async ({ descriptor, images }) => {
      const { digest } = descriptor;
      const repositories = new Set(images.map((image) => image.target.repository));
      const found = await Promise.all(
        [...repositories].map(async (repository) => ({
          repository,
          isThere: await limit(async () => await isThere(target(repository), descriptor, { signal })),
        })),
      );
      const from = found.find(({ isThere }) => isThere)?.repository;
      for (const { repository, isThere } of found) {
        if (isThere) continue;
        const place = target(repository);
        const mounted =
          from !== undefined &&
          canMount(place) &&
          (await limit(async () => await place.mount(descriptor, from, { signal })));
        if (!mounted) absent.set(digest, (absent.get(digest) ?? new Set()).add(repository));
      }
    }),
  );
  return absent;
}

async function isThere(target: Target, descriptor: Descriptor, call: CallOptions): Promise<boolean> {
  call.signal?.throwIfAborted();
  return await target.has(descriptor, call).catch((error: unknown) => {
    // A repository that does not exist yet is hidden by some registries.
    if (isAppError(error, "NOT_FOUND", "DENIED")) return false;
    throw error;
  });
}

function waitsFor({ source }: PlannedImage, volumes: readonly string[]): AppError {
  return new AppError("PARTIAL", `Cannot complete ${source} yet: it waits for ${namesOf(volumes)}`, {
    hint: "push again when they are there, together or one after another; what has been sent is not sent again",
    details: { volumes },
  });
}

/** File names in words; of many, the first and how many more there are. */
export function namesOf(volumes: readonly string[]): string {
  const shown = volumes.slice(0, shownVolumes);
  const more = volumes.length - shown.length;
  if (more > 0) return `${shown.join(", ")} and ${plural(more, "more volume")}`;
  const last = shown.at(-1) ?? "";
  return shown.length < 2 ? last : `${shown.slice(0, -1).join(", ")} and ${last}`;
}
