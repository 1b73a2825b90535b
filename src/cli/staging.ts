/**
 * An archive of another tool that comes through a pipe, on its way into a registry. Its names come last, so its layers go
 * into one repository as they come, and are taken over from there to where they belong.
 */
import type { ArchiveBundle } from "../bundle/archive/archive-bundle.ts";
import type { PipedArchive } from "../bundle/pipe/open-piped.ts";
import type { ByteStream, CallOptions, OpenOptions } from "../content/content.ts";
import type { PassingContent, Stage, StageOptions } from "../content/passing-content.ts";
import { AppError, isAppError, toAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, isDigest, shortDigest } from "../oci/digest.ts";
import { isRepository, parseReference } from "../oci/reference.ts";
import type { RegistryRepository } from "../registry/repository.ts";
import { plural } from "../report/format.ts";
import type { Emit } from "../sync/events.ts";
import { proveLeaning } from "../sync/leaning.ts";
import { defaultNameTemplate, targetName } from "../sync/naming.ts";
import { leavingOut, type Plan } from "../sync/plan.ts";
import type { Registries } from "./registries.ts";
import type { RegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";
import { registryTarget } from "./transfer.ts";

const defaultRepository = "mirror-staging";

export interface StagingOptions {
  readonly target: RegistryTarget;
  /** Where layers go, under the prefix of the target, as the user has it. */
  readonly staging: string | undefined;
  /** What the image is called: its layers go where it belongs, if nothing else is said. */
  readonly tag: string | undefined;
  readonly template: string | undefined;
  readonly allowMissing: boolean;
}

/** An archive whose large files are in a repository of the target. */
export interface StagedArchive {
  readonly bundle: ArchiveBundle;
  /** Brings them from there to where the images of a plan need them; gives the plan of what is left to do. */
  readonly prove: (plan: Plan) => Promise<Plan>;
}

/** Reads the archive, once. Throws what is wrong with it, or what keeps its layers from being stored. */
export async function stageArchive(
  archive: PipedArchive,
  registries: Registries,
  session: Session,
  options: StagingOptions,
): Promise<StagedArchive> {
  const { target } = options;
  const repository = registries.repository(target.host, stagingRepository(options));
  // A registry that cannot be reached is to be known before anything is read.
  await repository.client.connect(session.signal);
  const stage = new StagingRepository(repository, session.emit);
  const bundle = await archive.read({
    tag: options.tag,
    named: true,
    allowMissing: options.allowMissing,
    signal: session.signal,
    onNote: session.note,
    stage,
  });
  const prove = async (plan: Plan): Promise<Plan> =>
    await bringOver(plan, stage, registryTarget(registries, target), session);
  return { bundle, prove };
}

/** Where layers go whose image is not known yet. Throws USAGE for what is no repository. */
function stagingRepository({ target, staging, tag, template }: StagingOptions): string {
  const { prefix } = target;
  if (staging === undefined && tag !== undefined)
    return targetName(parseReference(tag), { template: template ?? defaultNameTemplate, prefix }).repository;
  const name = [prefix, staging ?? defaultRepository].filter((part) => part !== "").join("/");
  if (isRepository(name)) return name;
  throw new AppError("USAGE", `Cannot use --staging ${JSON.stringify(staging)}: it is no repository name`, {
    hint: "use lower-case letters, digits and . _ - between slashes",
  });
}

/** The repository, which keeps in mind what is in it. */
class StagingRepository implements Stage {
  readonly repository: RegistryRepository;
  /** What is there, and whether it was before. */
  readonly #held = new Map<Digest, "found" | "moved">();
  readonly #emit: Emit;

  constructor(repository: RegistryRepository, emit: Emit) {
    this.repository = repository;
    this.#emit = emit;
  }

  /** True for what this run has put there or found there. */
  holds(digest: Digest): boolean {
    return this.#held.has(digest);
  }

  wasThere(digest: Digest): boolean {
    return this.#held.get(digest) === "found";
  }

  async has(descriptor: Descriptor, options?: CallOptions): Promise<boolean> {
    try {
      if (!(await this.repository.has(descriptor, options))) return false;
    } catch (error) {
      // Registries that hide repositories answer so for one that does not exist yet.
      if (!isAppError(error, "NOT_FOUND", "AUTH", "DENIED")) throw error;
      return false;
    }
    if (!this.#held.has(descriptor.digest)) this.#held.set(descriptor.digest, "found");
    return true;
  }

  async stage(content: PassingContent, options: StageOptions = {}): Promise<void> {
    const { name, size } = content;
    const key = `${this.repository.repository} ${name}`;
    this.#emit({ type: "planned", images: 0, blobs: 1, bytes: size, more: true });
    this.#emit({ type: "blob-started", key, name: isDigest(name) ? shortDigest(name) : name, size });
    try {
      await this.repository.stage(content, {
        ...options,
        onProgress: (offset) => this.#emit({ type: "blob-progress", key, offset }),
      });
      this.#held.set(await content.digest(), "moved");
      this.#emit({ type: "blob-finished", key, size });
    } catch (error) {
      const known = toAppError(error);
      this.#emit({ type: "blob-failed", key, error: known });
      throw this.#explained(known);
    }
  }

  async open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream> {
    return await this.repository.open(descriptor, options);
  }

  /** What the user can do where it is this repository that is refused. */
  #explained(error: AppError): AppError {
    // What has gone by is missing at the other side.
    if (error.side === "source" || !["AUTH", "DENIED", "NOT_FOUND"].includes(error.code)) return error;
    const { code, message, details, side } = error;
    return new AppError(code, message, {
      hint: `name a repository that may be written to: --staging REPOSITORY, or --tag NAME[:TAG] for an archive of one image${error.hint === undefined ? "" : `; or ${error.hint}`}`,
      cause: error,
      details,
      side,
    });
  }
}

/** Takes layers over from where they are to where they are needed. What cannot be taken over stays in the plan. */
async function bringOver(
  plan: Plan,
  stage: StagingRepository,
  target: (repository: string) => RegistryRepository,
  { emit, signal }: Session,
): Promise<Plan> {
  const home = stage.repository.repository;
  const told = new Set<Digest>();
  const elsewhere = leavingOut(plan, ({ digest, size }, image) => {
    if (image.target.repository !== home || !stage.holds(digest)) return false;
    // What was moved is counted already.
    if (stage.wasThere(digest) && !told.has(digest)) emit({ type: "blob-skipped", size, reason: "exists" });
    told.add(digest);
    return true;
  });
  const isStaged = ({ digest }: Descriptor): boolean => stage.holds(digest);
  const { plan: left, lacks } = await proveLeaning(elsewhere, {
    isLeftOut: isStaged,
    elsewhere: async () => [home],
    target,
    emit,
    signal,
  });
  const [lost] = lacks;
  if (lost !== undefined)
    throw new AppError(
      "REGISTRY",
      `Cannot find ${lost.part.digest} in ${stage.repository.name}: it was there a moment ago`,
      { hint: "look whether somebody cleans this repository up, then run the pipe again" },
    );
  const back = new Set(
    left.images.flatMap(({ nodes }) =>
      nodes.flatMap(({ role, descriptor }) =>
        role !== "manifest" && isStaged(descriptor) ? descriptor.digest : [],
      ),
    ),
  );
  if (back.size > 0)
    emit({
      type: "note",
      message: `${stage.repository.client.registry} does not take ${plural(back.size, "layer")} over from ${home}, so they are read back from there; --tag NAME brings an archive of one image to its place at once`,
    });
  return left;
}
