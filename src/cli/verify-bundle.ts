/** `verify`: a bundle against itself, and against the registry that should hold it. */
import type { BundleReader } from "../bundle/reader.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { AppError } from "../errors.ts";
import { formatBytes, plural } from "../report/format.ts";
import { makePlan } from "../sync/plan.ts";
import { type Problem, verifyContent, verifyTarget } from "../sync/verify.ts";
import { bundleRequests } from "./bundle-plan.ts";
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
  bundle: BundleReader,
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
  });
  const { images, blobs, bytes } = plan.totals;
  session.emit({ type: "planned", images, blobs, bytes });
  const broken: Problem[] = failures.map(({ image, error }) => ({ images: [image], message: error.message }));
  const call = { emit: session.emit, signal: session.signal };
  const damaged = await verifyContent(plan, bundle, call);
  const absent =
    options.target === undefined
      ? []
      : await verifyTarget(plan, registryTarget(registries, options.target), call);
  const problems = [...broken, ...damaged, ...absent];
  return { ok: problems.length === 0, images: bundle.images.length, blobs, bytes, problems };
}

/** The result as a person reads it. */
export function formatVerified(result: VerifyResult, what: string): string {
  const { images, blobs, bytes } = result;
  return `${what} is whole: ${plural(images, "image")}, ${plural(blobs, "blob")}, ${formatBytes(bytes)}, every digest proved`;
}

/** The error for a result with problems: INTEGRITY, each problem on a line of its own with its images. */
export function verifyFailure(result: VerifyResult, what: string): AppError {
  const lines = result.problems.map(({ message, images }) => `${message} (needed by ${images.join(", ")})`);
  const shown = lines.slice(0, 50);
  const more = lines.length > shown.length ? [`and ${lines.length - shown.length} more`] : [];
  return new AppError(
    "INTEGRITY",
    [`${what} is not whole: ${plural(result.problems.length, "problem")}`, ...shown, ...more].join("\n"),
    {
      hint: "pull or copy the bundle again, or push it again if only the registry lacks something",
      details: { problems: lines },
    },
  );
}
