/** `verify`: a bundle against itself, and against the registry that should hold it. */
import { PipeReader } from "../bundle/pipe/pipe-reader.ts";
import { BundleReader } from "../bundle/reader.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { AppError } from "../errors.ts";
import { formatBytes, plural } from "../report/format.ts";
import { makePlan } from "../sync/plan.ts";
import { type Problem, verifyContent, verifyTarget } from "../sync/verify.ts";
import { pipeName } from "./bundle-path.ts";
import { bundleContent, bundleRequests } from "./bundle-plan.ts";
import { verifyPiped } from "./piped-bundle.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";
import { registryTarget } from "./transfer.ts";

/** What `verify --json` prints. */
export interface VerifyResult {
  readonly ok: boolean;
  readonly images: number;
  readonly blobs: number;
  readonly bytes: number;
  readonly problems: readonly Problem[];
}

export interface VerifyBundleOptions {
  readonly template?: string | undefined;
  readonly target?: RegistryTarget | undefined;
}

/** Proves a bundle, and with `target` also that the registry holds all of it. Problems are part of the result. */
export async function verifyBundle(
  bundle: BundleReader | PipeReader,
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
  });
  const { images, blobs, bytes } = plan.totals;
  session.emit({ type: "planned", images, blobs, bytes });
  const broken: Problem[] = failures.map(({ image, error }) => ({
    place: "bundle" as const,
    images: [image],
    message: error.message,
  }));
  const call = { emit: session.emit, signal: session.signal };
  const damaged =
    bundle instanceof PipeReader
      ? await verifyPiped(bundle, plan, session.emit)
      : await verifyContent(plan, bundle, call);
  // Whatever was wrong would be no fault of the bundle.
  if (bundle instanceof BundleReader && broken.length + damaged.length > 0) await bundle.refuseChanged();
  const absent =
    options.target === undefined
      ? []
      : await verifyTarget(plan, registryTarget(registries, options.target), call);
  const problems = [...broken, ...damaged, ...absent];
  return { ok: problems.length === 0, images: bundle.images.length, blobs, bytes, problems };
}

/** The result as a person reads it. `registry`: the one that was asked, if any. */
export function formatVerified(result: VerifyResult, path: string, registry: string | undefined): string {
  const { images, blobs, bytes } = result;
  const whole = `${nameOf(path)} is whole: ${plural(images, "image")}, ${plural(blobs, "blob")}, ${formatBytes(bytes)}, every digest proved`;
  return registry === undefined ? whole : `${whole}\n${registry} has every tag, manifest and blob of it`;
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
  for (const { message, images } of result.problems) {
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
  const what = damaged
    ? `${nameOf(path)} is damaged`
    : `${registry ?? path} does not hold all of ${nameOf(path)}`;
  return new AppError(
    "INTEGRITY",
    [`${what}: ${plural(result.problems.length, "problem")}`, ...lines, ...rest].join("\n"),
    {
      hint: damaged
        ? "copy the bundle again, or pull it again"
        : `push it: mirror push ${path} --registry ${registry ?? "HOST"}${name === undefined ? "" : ` --name '${name}'`}`,
      details: {
        problems: result.problems.map(({ message, images }) => `${message} (needed by ${images.join(", ")})`),
      },
    },
  );
}
