/** `verify`: a bundle against itself, and against the registry that should hold it. */
import type { Bundle } from "../bundle/bundle.ts";
import { baseOf, leavesOut } from "../bundle/delta.ts";
import { PipeReader } from "../bundle/pipe/pipe-reader.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { AppError } from "../errors.ts";
import { formatBytes, plural } from "../report/format.ts";
import { leavingOut, makePlan } from "../sync/plan.ts";
import { type Problem, verifyContent, verifyTarget } from "../sync/verify.ts";
import { type BaseFigures, baseFigures, heldBy } from "./base-figures.ts";
import { pipeName } from "./bundle-path.ts";
import { bundleContent, bundleRequests } from "./bundle-plan.ts";
import { verifyPiped } from "./piped-bundle.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";
import { registryTarget } from "./transfer.ts";
import { verifyBases } from "./verify-bases.ts";
import {
  atHand,
  findVolumeProblems,
  formatVolumeProblems,
  inVolumes,
  problemOf,
  type VolumeProblem,
} from "./volume-problems.ts";

/** What `verify --json` prints. */
export interface VerifyResult {
  readonly ok: boolean;
  readonly images: number;
  readonly blobs: number;
  readonly bytes: number;
  readonly problems: readonly Problem[];
  /** What a delta leans on; `proved` if it was read too. */
  readonly base?: BaseFigures & { readonly proved: boolean };
  /** Of a bundle in volumes: how many there should be, and those that are missing or damaged. */
  readonly volumes?: { readonly count: number; readonly problems: readonly VolumeProblem[] };
}

export interface VerifyBundleOptions {
  readonly template?: string | undefined;
  readonly target?: RegistryTarget | undefined;
  /** The bundles that a delta leans on, to be proved with it; if there are none, only what is in it is proved. */
  readonly bases?: readonly Bundle[] | undefined;
  /** Goes on without the platforms of an archive that are not there. */
  readonly allowMissing?: boolean | undefined;
}

/** Proves a bundle, and with `target` also that the registry holds all of it. Problems are part of the result. */
export async function verifyBundle(
  bundle: Bundle,
  registries: Registries,
  session: Session,
  options: VerifyBundleOptions,
): Promise<VerifyResult> {
  const requests = bundleRequests(bundle, {
    template: options.template,
    prefix: options.target?.prefix ?? "",
  });
  const { plan, failures } = await makePlan(requests, {
    source: () => bundle,
    manifests: new ManifestStore(),
    emit: (event) => {
      // What fails here is a problem of the bundle, told with all the others at the end.
      if (event.type !== "image-failed") session.emit(event);
    },
    signal: session.signal,
    ...bundleContent(bundle),
    allowMissing: options.allowMissing,
  });
  const { bases = [] } = options;
  const inside = leavingOut(plan, (part) => leavesOut(bundle, part));
  const { images, blobs, bytes } = (bases.length === 0 ? inside : plan).totals;
  session.emit({ type: "planned", images, blobs, bytes });
  const broken: Problem[] = failures.map(({ image, error }) => ({
    place: "bundle" as const,
    images: [image],
    message: error.message,
  }));
  const call = { emit: session.emit, signal: session.signal };
  const damaged =
    bundle instanceof PipeReader
      ? await verifyPiped(bundle, inside, session.emit)
      : await verifyContent(atHand(inside, bundle), bundle, call);
  // Whatever was wrong would be no fault of the bundle.
  if (broken.length + damaged.length > 0) await bundle.refuseChanged();
  const lacking = bases.length === 0 ? [] : await verifyBases(plan, bundle, bases, call);
  const absent =
    options.target === undefined
      ? []
      : await verifyTarget(plan, registryTarget(registries, options.target), call);
  const lost = await findVolumeProblems(bundle, plan, damaged, session.signal);
  const problems = [...broken, ...damaged, ...lacking, ...absent, ...lost.map(problemOf)];
  const count = inVolumes(bundle)?.volumes.states.length;
  const leaned = baseOf(bundle);
  return {
    ok: problems.length === 0,
    images: bundle.images.length,
    blobs,
    bytes,
    problems,
    ...(count === undefined ? {} : { volumes: { count, problems: lost } }),
    ...(leaned === undefined ? {} : { base: { ...baseFigures(leaned), proved: bases.length > 0 } }),
  };
}

/** The result as a person reads it. `registry`: the one that was asked, if any. */
export function formatVerified(result: VerifyResult, path: string, registry: string | undefined): string {
  const { images, blobs, bytes } = result;
  const name = nameOf(path);
  const volumes = result.volumes === undefined ? "" : `${plural(result.volumes.count, "volume")}, `;
  const figures = `${volumes}${plural(images, "image")}, ${plural(blobs, "blob")}, ${formatBytes(bytes)}, every digest proved`;
  const lines =
    result.base === undefined
      ? [`${name} is whole: ${figures}`]
      : result.base.proved
        ? [`${name} is whole together with what it leans on: ${figures}`]
        : [
            `${name} is whole as a delta: ${figures}`,
            `it leans on ${heldBy(result.base)}${registry === undefined ? "; --base BUNDLE or --registry HOST proves these too" : ""}`,
          ];
  if (registry !== undefined) lines.push(`${registry} has every tag, manifest and blob of it`);
  return lines.join("\n");
}

function nameOf(path: string): string {
  return path === pipeName ? "standard input" : path;
}

/** So many problems of one image are told one by one. */
const shownProblems = 3;
const shownImages = 50;

/**
 * The error for a result with problems: INTEGRITY, what is wrong with each image on lines of their own (the result
 * has all of it), and what to do: other things for a damaged bundle than for a registry that lacks something.
 */
export function verifyFailure(
  result: VerifyResult,
  path: string,
  { registry, name }: { readonly registry: string | undefined; readonly name: string | undefined },
): AppError {
  const damaged = result.problems.some(({ place }) => place === "bundle");
  const groups = new Map<string, string[]>();
  const { count = 0, problems: volumes = [] } = result.volumes ?? {};
  const told = new Set(volumes.map(({ message }) => message));
  for (const { message, images } of result.problems) {
    if (told.has(message)) continue;
    const key = images.join(", ");
    groups.set(key, [...(groups.get(key) ?? []), message]);
  }
  const lines = [...groups].slice(0, shownImages).flatMap(([images, messages]) => {
    const more = messages.length - shownProblems;
    return [
      `${images}:`,
      ...messages.slice(0, shownProblems).map((message) => `  ${message}`),
      ...(more > 0 ? [`  and ${more} more`] : []),
    ];
  });
  const rest = groups.size > shownImages ? [`and ${plural(groups.size - shownImages, "more image")}`] : [];
  const baseless = !damaged && result.problems.some(({ place }) => place === "base");
  const isIncomplete = volumes.length > 0 && volumes.every(({ state }) => state === "missing");
  const bundle = nameOf(path);
  const what = isIncomplete
    ? `${bundle} is not complete`
    : damaged
      ? `${bundle} is damaged`
      : baseless
        ? `${bundle} is whole as a delta, but what it leans on is not`
        : `${registry ?? path} does not hold all of ${bundle}`;
  return new AppError(
    "INTEGRITY",
    [
      `${what}: ${plural(result.problems.length, "problem")}`,
      ...formatVolumeProblems(volumes, count),
      ...lines,
      ...rest,
    ].join("\n"),
    {
      hint:
        volumes.length > 0
          ? "put these volumes here again, with their checksum lists; the others can stay as they are"
          : damaged
            ? "copy the bundle again, or pull it again"
            : baseless
              ? "name every bundle that it leans on with --base; copy what is damaged again"
              : `push it: mirror push ${path} --registry ${registry ?? "HOST"}${name === undefined ? "" : ` --name '${name}'`}`,
      details: {
        problems: result.problems.map(({ message, images }) => `${message} (needed by ${images.join(", ")})`),
      },
    },
  );
}
