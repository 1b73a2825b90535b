/** A bundle that comes through standard input. */
import { type PipeProblem, PipeReader } from "../bundle/pipe/pipe-reader.ts";
import type { Source } from "../content/content.ts";
import { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { plural } from "../report/format.ts";
import type { ImageOutcome } from "../sync/copy.ts";
import type { Emit } from "../sync/events.ts";
import { isBlob } from "../sync/node.ts";
import type { Plan } from "../sync/plan.ts";
import { contentsOf } from "../sync/transfers.ts";
import type { Problem } from "../sync/verify.ts";
import type { SourceSide } from "./copy-to-registry.ts";
import { standardInput } from "./standard-input.ts";

/**
 * The front of the bundle on standard input. Throws USAGE for a terminal, and for a `tag`, which only an archive of
 * another tool can need; BUNDLE, INTEGRITY, DISK.
 */
export async function openPipedBundle({ tag }: { readonly tag: string | undefined }): Promise<PipeReader> {
  if (tag !== undefined)
    throw new AppError("USAGE", "Cannot name what comes through standard input with --tag", {
      hint: "only a bundle that mirror pull wrote can be read from a pipe; store another archive in a file first",
    });
  return await PipeReader.open(standardInput(), "standard input");
}

/** A bundle in a pipe as the source of a copy. `content`: where the content is read; see {@link leaningSide}. */
export function pipedSide(bundle: PipeReader, content: Source): SourceSide {
  return {
    request: () => bundle,
    image: () => content,
    limits: () => [],
    passage: bundle,
    begin: (plan) => bundle.flow(contentsOf(plan.images, isBlob).map(({ descriptor }) => descriptor.digest)),
    end: async (outcomes) => await endOf(bundle, outcomes),
  };
}

/**
 * Proves what comes through the pipe: all of it, in its order. The plan (made from its front) tells which images need
 * what is wrong.
 */
export async function verifyPiped(bundle: PipeReader, plan: Plan, emit: Emit): Promise<readonly Problem[]> {
  bundle.flow([], (_digest, size) => emit({ type: "verified", size }));
  const found = await bundle.finished();
  // What is missing is named; that it is because the stream ended is said with it.
  const named = found.filter(({ digest }) => digest !== undefined);
  const users = new Map<Digest, ReadonlySet<string>>(
    contentsOf(plan.images).map(({ descriptor, images }) => [
      descriptor.digest,
      new Set(images.map(({ source }) => source)),
    ]),
  );
  return (named.length > 0 ? named : found).map(({ digest, error }) => ({
    place: "bundle" as const,
    ...(digest === undefined ? {} : { digest }),
    images: digest === undefined ? [bundle.path] : [...(users.get(digest) ?? [])],
    message: error.message,
  }));
}

/** Reads what is left of the pipe, unless nothing has come of it all. */
async function endOf(bundle: PipeReader, outcomes: readonly ImageOutcome[]): Promise<AppError | undefined> {
  if (outcomes.length > 0 && outcomes.every(({ error }) => error !== undefined)) return undefined;
  return summed(await bundle.finished());
}

/** What is wrong with the stream itself says more than which blobs it costs. */
function summed(problems: readonly PipeProblem[]): AppError | undefined {
  const first = problems.find(({ digest }) => digest === undefined) ?? problems[0];
  if (first === undefined || problems.length === 1 || first.digest === undefined) return first?.error;
  const { code, message, hint } = first.error;
  return new AppError(code, `${message}; and ${plural(problems.length - 1, "more problem")}`, {
    hint,
    cause: first.error,
    details: { problems: problems.map(({ error }) => error.message) },
  });
}
