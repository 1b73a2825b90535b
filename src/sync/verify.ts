/** Proof of what is there: a source by reading all of it, a target by asking for every part. */
import pLimit from "p-limit";
import { type CallOptions, canTell, orderOf, type Source, type Target } from "../content/content.ts";
import { proveContent } from "../content/verify.ts";
import { type AppError, isAppError, toAppError } from "../errors.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import type { Emit } from "./events.ts";
import { isBlob } from "./node.ts";
import type { Plan, PlannedImage } from "./plan.ts";
import { contentsOf } from "./transfers.ts";

/** One thing that is wrong: what, and in which images. */
export interface Problem {
  /** Where it is: in what was read, in what that leans on, or in the registry that was asked. */
  readonly place: "bundle" | "base" | "registry";
  readonly digest?: Digest;
  readonly images: readonly string[];
  readonly message: string;
}

export interface VerifyOptions extends CallOptions {
  readonly emit: Emit;
}

/** Reads at a time: hashing is what takes the time, and it runs on one core. */
const readConcurrency = 4;
const askConcurrency = 16;

/** Reads every blob of a plan once and compares its digest. Manifests have been proved when the plan was made. */
export async function verifyContent(
  plan: Plan,
  source: Source,
  options: VerifyOptions,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const limit = pLimit(readConcurrency);
  const blobs = contentsOf(plan.images, isBlob);
  const order = orderOf(source);
  if (order !== undefined) blobs.sort((a, b) => order(a.descriptor.digest) - order(b.descriptor.digest));
  await limit.map(blobs, async ({ descriptor, images }) => {
    options.signal?.throwIfAborted();
    const key = descriptor.digest;
    options.emit({ type: "blob-started", key, name: shortDigest(key), size: descriptor.size });
    try {
      if (!(canTell(source) && source.isProved(descriptor)))
        await proveContent(await source.open(descriptor, { signal: options.signal }), descriptor);
      options.emit({ type: "verified", size: descriptor.size });
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isAppError(error, "INTEGRITY")) throw error;
      options.emit({ type: "blob-failed", key, error });
      problems.push({
        place: "bundle",
        digest: key,
        images: images.map(({ source: name }) => name),
        message: error.message,
      });
    }
  });
  return problems;
}

/** Asks a registry for every tag, manifest and blob of a plan. `target` gives its repositories. */
export async function verifyTarget(
  plan: Plan,
  target: (repository: string) => Target & Pick<Source, "resolve">,
  options: VerifyOptions,
): Promise<readonly Problem[]> {
  const limit = pLimit(askConcurrency);
  const found = await Promise.all(
    plan.images.map(
      async (image) => await verifyImage(image, target(image.target.repository), limit, options),
    ),
  );
  return found.flat();
}

async function verifyImage(
  image: PlannedImage,
  target: Target & Pick<Source, "resolve">,
  limit: ReturnType<typeof pLimit>,
  options: VerifyOptions,
): Promise<readonly Problem[]> {
  const call = { signal: options.signal };
  const problems: Problem[] = [];
  const { repository, tag } = image.target;
  const complain = (message: string, digest?: Digest): void => {
    problems.push({
      place: "registry",
      images: [image.source],
      message,
      ...(digest === undefined ? {} : { digest }),
    });
  };
  if (tag !== undefined) {
    const state = await limit(async () => await target.resolve(tag, call)).catch((error: unknown) =>
      missing(error),
    );
    if (state === undefined) complain(`${repository}:${tag} is not there`);
    else if (state.digest !== image.root.digest)
      complain(`${repository}:${tag} is ${state.digest}, expected ${image.root.digest}`, image.root.digest);
  }
  await Promise.all(
    image.nodes.map(async ({ role, descriptor }) => {
      if (await limit(async () => await target.has(descriptor, call))) return;
      complain(`${role} ${descriptor.digest} is not in ${repository}`, descriptor.digest);
    }),
  );
  const [first] = problems;
  if (first === undefined)
    options.emit({
      type: "image-finished",
      image: image.source,
      digest: image.root.digest,
      unchanged: false,
    });
  return problems;
}

/** The error of a lookup that found nothing is an answer; any other one is not. */
function missing(error: unknown): undefined {
  const known: AppError = toAppError(error);
  if (known.code !== "NOT_FOUND") throw known;
  return undefined;
}
