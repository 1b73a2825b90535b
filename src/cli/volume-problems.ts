/** What is wrong with the volumes of a bundle, and what lies in them. */
import { join } from "node:path";
import { BundleReader } from "../bundle/reader.ts";
import type { VolumeState } from "../bundle/volumes/find-set.ts";
import type { VolumeSet } from "../bundle/volumes/volume-set.ts";
import { type AppError, toAppError } from "../errors.ts";
import { type Digest, digestOf, hexOf } from "../oci/digest.ts";
import { formatBytes, plural } from "../report/format.ts";
import type { Emit } from "../sync/events.ts";
import type { Plan } from "../sync/plan.ts";
import { contentsOf } from "../sync/transfers.ts";
import type { Problem } from "../sync/verify.ts";
import type { RegistryTarget } from "./requests.ts";
import { stateFolder } from "./state-folder.ts";

/** A volume that is missing or damaged, and what is not to be had because of it. */
export interface VolumeProblem {
  /** Counted from 1. */
  readonly volume: number;
  readonly file: string;
  readonly state: "missing" | "damaged";
  /** The rest of the sentence: `bundle.tar.003 is missing`. */
  readonly message: string;
  readonly blobs: readonly {
    readonly digest: Digest;
    readonly size: number;
    readonly images: readonly string[];
  }[];
}

/** A source in volumes, of which some may not be there. */
export interface SourceVolumes {
  /** The file names of those that hold some of a content and are not there; undefined if all are there. */
  readonly lacking: ((digest: Digest) => readonly string[]) | undefined;
  /** After a push: keeps what is here of content that is neither whole here nor at the target. */
  readonly keep: (absent: readonly Digest[], errors: readonly AppError[]) => Promise<void>;
}

/** A bundle that is read from volumes; undefined for any other one. */
export function inVolumes(
  bundle: object,
): { readonly bundle: BundleReader; readonly volumes: VolumeSet } | undefined {
  const volumes = bundle instanceof BundleReader ? bundle.volumes : undefined;
  return bundle instanceof BundleReader && volumes !== undefined ? { bundle, volumes } : undefined;
}

/** The plan without what lies in volumes that are not there. */
export function atHand(plan: Plan, source: object): Plan {
  const found = inVolumes(source);
  if (found === undefined) return plan;
  const images = plan.images.map((image) => ({
    ...image,
    nodes: image.nodes.filter(({ descriptor }) => found.bundle.lacking(descriptor.digest).length === 0),
  }));
  return { ...plan, images };
}

/** A volume's problem as one of the bundle. */
export function problemOf({ message, blobs }: VolumeProblem): Problem {
  const images = [...new Set(blobs.flatMap((blob) => blob.images))];
  return { place: "bundle", images, message };
}

/** Where a push keeps pieces of volumes for the next one, by bundle and target; undefined where nothing can be kept. */
export function keptIn(target: RegistryTarget): (bundle: Digest) => string | undefined {
  return (bundle) => {
    const state = stateFolder(process.env);
    const name = hexOf(digestOf(Buffer.from(`${bundle} ${target.host}/${target.prefix}`))).slice(0, 32);
    return state === undefined ? undefined : join(state, "volumes", name);
  };
}

/**
 * For a push: warns of volumes that are there and cannot be used, and gives what the copy needs to know. Undefined for a
 * bundle in one file.
 */
export function prepareVolumes(source: object, emit: Emit): SourceVolumes | undefined {
  const found = inVolumes(source);
  if (found === undefined) return undefined;
  const { bundle, volumes } = found;
  for (const state of volumes.states) {
    const message = stateText(volumes, state);
    if (message !== undefined && state.state !== "missing")
      emit({ type: "warning", message, hint: "copy it again, with its checksum list" });
  }
  const missing = volumes.states.some(({ state }) => state !== "there" && state !== "unlisted");
  const keep: SourceVolumes["keep"] = async (absent, errors) => {
    // A piece may be what was damaged: then it is of no use to anybody.
    const isDamaged = errors.some(({ code }) => code === "INTEGRITY");
    try {
      const kept = await bundle.keepRest(isDamaged ? [] : absent);
      if (kept === undefined || kept.bytes === 0) return;
      const message = `kept ${formatBytes(kept.bytes)} in ${kept.folder}: the beginning or end of what other volumes complete`;
      emit({ type: "note", message });
    } catch (error) {
      emit({ type: "warning", message: toAppError(error).message });
    }
  };
  return { lacking: missing ? (digest) => bundle.lacking(digest) : undefined, keep };
}

/**
 * The volumes that are missing or damaged. `damaged` has what was wrong when all content at hand was read: where that
 * spans volumes, their checksum lists tell which of them is to blame. Throws DISK.
 */
export async function findVolumeProblems(
  source: object,
  plan: Plan,
  damaged: readonly Problem[],
  signal: AbortSignal,
): Promise<readonly VolumeProblem[]> {
  const reader = inVolumes(source);
  if (reader === undefined) return [];
  const { bundle, volumes } = reader;
  const broken = new Map<number, string>();
  for (const state of volumes.states) {
    const message = stateText(volumes, state);
    if (message !== undefined) broken.set(state.volume, message);
  }
  for (const { digest } of damaged) {
    if (digest === undefined) continue;
    for (const volume of await culprits(volumes, bundle.volumesHolding(digest), signal))
      if (!broken.has(volume)) broken.set(volume, damagedText(volumes, volume));
  }
  for (const volume of await bundle.damagedGaps(signal))
    if (!broken.has(volume)) broken.set(volume, damagedText(volumes, volume));
  const contents = blobsByVolume(bundle, plan, broken);
  return [...broken]
    .sort(([a], [b]) => a - b)
    .map(([volume, message]) => ({
      volume,
      file: volumes.nameOf(volume),
      state: volumes.states[volume - 1]?.state === "missing" ? "missing" : "damaged",
      message,
      blobs: contents.get(volume) ?? [],
    }));
}

/** Lines for people: each volume, and below it what it holds. */
export function formatVolumeProblems(problems: readonly VolumeProblem[], volumes: number): readonly string[] {
  if (problems.length === 0) return [];
  const shown = problems.slice(0, shownVolumes);
  const rest = problems.length - shown.length;
  return [
    ...shown.flatMap(({ message, blobs, volume }) => {
      const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
      const holds =
        blobs.length === 0
          ? "it holds no content of its own"
          : `it holds all or part of ${plural(blobs.length, "blob")} (${formatBytes(bytes)})`;
      const more = blobs.length - shownBlobs;
      return [
        `volume ${volume} of ${volumes}: ${message}; ${holds}`,
        ...blobs
          .slice(0, shownBlobs)
          .map(
            ({ digest, images }) =>
              `  ${digest} of ${images.slice(0, shownImages).join(", ")}${
                images.length > shownImages ? ` and ${images.length - shownImages} more` : ""
              }`,
          ),
        ...(more > 0 ? [`  and ${plural(more, "more blob")}`] : []),
      ];
    }),
    ...(rest > 0 ? [`and ${plural(rest, "more volume")}`] : []),
  ];
}

const shownVolumes = 50;
const shownBlobs = 5;
const shownImages = 3;

/** What is wrong with a volume at first sight; undefined if nothing is. */
function stateText(volumes: VolumeSet, state: VolumeState): string | undefined {
  const name = volumes.nameOf(state.volume);
  if (state.state === "missing") return `${name} is missing`;
  if (state.state === "foreign") return `${name} is of another bundle`;
  if (state.state === "cut")
    return `${name} is damaged: it is ${state.found ?? 0} bytes, expected ${state.size}`;
  return volumes.isDamaged(state.volume) ? damagedText(volumes, state.volume) : undefined;
}

function damagedText(volumes: VolumeSet, volume: number): string {
  return `${volumes.nameOf(volume)} is damaged`;
}

/** Those of some volumes that are not as their lists say; all of them if no list tells. */
async function culprits(
  volumes: VolumeSet,
  suspects: readonly number[],
  signal: AbortSignal,
): Promise<readonly number[]> {
  if (suspects.length < 2) return suspects;
  const found: number[] = [];
  const unknown: number[] = [];
  for (const volume of suspects) {
    const matches = await volumes.matchesSum(volume, signal);
    if (matches === false) found.push(volume);
    if (matches === undefined) unknown.push(volume);
  }
  if (found.length > 0) return found;
  return unknown.length > 0 ? unknown : suspects;
}

function blobsByVolume(
  bundle: BundleReader,
  plan: Plan,
  wanted: ReadonlyMap<number, unknown>,
): ReadonlyMap<number, VolumeProblem["blobs"]> {
  const found = new Map<number, VolumeProblem["blobs"][number][]>();
  for (const { descriptor, images } of contentsOf(plan.images)) {
    const { digest, size } = descriptor;
    const blob = { digest, size, images: [...new Set(images.map(({ source }) => source))] };
    for (const volume of bundle.volumesHolding(digest))
      if (wanted.has(volume)) found.set(volume, [...(found.get(volume) ?? []), blob]);
  }
  return found;
}
