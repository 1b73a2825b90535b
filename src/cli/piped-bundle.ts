/** A bundle that comes through standard input. */
import type { ArchiveBundle, ArchiveOptions } from "../bundle/archive/archive-bundle.ts";
import { openPiped, type PipedArchive, type PipedOptions } from "../bundle/pipe/open-piped.ts";
import type { PassOptions } from "../bundle/pipe/passed-files.ts";
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

/** What comes through standard input. Throws USAGE for a terminal; and as {@link openPiped} does. */
export async function openPipe(options: PipedOptions): Promise<PipeReader | PipedArchive> {
  return await openPiped(standardInput(), "standard input", options);
}

/** The same for whoever only looks at it: an archive of another tool is read to its end for that. */
export async function openPipedBundle(
  options: ArchiveOptions & PassOptions,
): Promise<PipeReader | ArchiveBundle> {
  const piped = await openPipe(options);
  return piped instanceof PipeReader ? piped : await piped.read(options);
}

/** Shows what of an archive has been read and proved, before anybody knows how much there is. */
export function provedInPassing(emit: Emit): (bytes: number) => void {
  return (bytes) => {
    emit({ type: "planned", images: 0, blobs: 1, bytes, more: true });
    emit({ type: "verified", size: bytes });
  };
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
