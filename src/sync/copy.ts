/**
 * One plan from its sources to a target. The rules: every distinct blob moves once, the largest first; other
 * repositories of the same registry mount it; children before parents; tags last. A failure costs the images that
 * need the content, and no others. Nobody holds a slot while waiting for somebody else.
 */
import type { LimitFunction } from "p-limit";
import { type BlobSource, canMount, type Source, type Target } from "../content/content.ts";
import type { ManifestStore } from "../content/manifest-store.ts";
import { type AppError, isAppError, toAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { isIndexType } from "../oci/media-types.ts";
import type { Emit } from "./events.ts";
import type { Plan, PlannedImage } from "./plan.ts";

/** Who meets whom: the two sides of a copy, as the command put them together. */
export interface CopyEnds {
  readonly source: (image: PlannedImage) => Source;
  readonly target: (repository: string) => Target;
  /** Repositories that share one storage have one place: each its own in a registry, all the same in a bundle. */
  readonly placeOf: (repository: string) => string;
  /** The limits on transfers of this image, the source's first. */
  readonly limits: (image: PlannedImage) => readonly LimitFunction[];
  /** Bounds the manifests, which must not queue behind blobs. */
  readonly manifestLimit: LimitFunction;
  readonly manifests: ManifestStore;
}

export interface CopyOptions {
  readonly emit: Emit;
  readonly signal: AbortSignal;
  /** Called at the first failure of an image, with the failure. */
  readonly onFailure?: (error: AppError) => void;
}

export interface ImageOutcome {
  readonly image: PlannedImage;
  readonly error?: AppError;
}

/** Copies all images of a plan; resolves with what became of each. Throws only for an aborted signal. */
export async function copyPlan(
  plan: Plan,
  ends: CopyEnds,
  options: CopyOptions,
): Promise<readonly ImageOutcome[]> {
  const copier = new Copier(ends, options);
  const outcomes = await copier.copy(plan.images);
  options.signal.throwIfAborted();
  return outcomes;
}

interface Transfer {
  readonly descriptor: Descriptor;
  readonly image: PlannedImage;
  /** One repository for each place that needs the blob, in the order of the plan. */
  readonly repositories: Map<string, string>;
}

class Copier {
  readonly #ends: CopyEnds;
  readonly #options: CopyOptions;
  /** What is under way or done, by place and digest. */
  readonly #moves = new Map<string, Promise<void>>();
  readonly #manifests = new Map<string, Promise<void>>();

  constructor(ends: CopyEnds, options: CopyOptions) {
    this.#ends = ends;
    this.#options = options;
  }

  async copy(images: readonly PlannedImage[]): Promise<ImageOutcome[]> {
    const transfers = collect(images, this.#ends.placeOf);
    // The largest first, so that no big one is left to run alone at the end.
    transfers.sort((a, b) => b.descriptor.size - a.descriptor.size);
    for (const transfer of transfers) this.#start(transfer);
    return await Promise.all(images.map(async (image) => await this.#finish(image)));
  }

  #start({ descriptor, image, repositories }: Transfer): void {
    let first: { readonly repository: string; readonly moved: Promise<void> } | undefined;
    for (const [place, repository] of repositories) {
      const moved =
        first === undefined
          ? this.#limited(image, async () => await this.#move(descriptor, image, repository))
          : this.#follow(first, descriptor, image, repository);
      // Whoever needs the blob awaits it; if all of them have failed before, nobody does.
      moved.catch(() => undefined);
      this.#moves.set(keyOf(place, descriptor.digest), moved);
      first ??= { repository, moved };
    }
  }

  /** The same blob for another repository: mounted once the first one has it, moved if that fails. */
  async #follow(
    first: { repository: string; moved: Promise<void> },
    descriptor: Descriptor,
    image: PlannedImage,
    repository: string,
  ): Promise<void> {
    const arrived = await first.moved.then(
      () => true,
      () => false,
    );
    await this.#limited(image, async () => {
      const target = this.#ends.target(repository);
      if (
        arrived &&
        canMount(target) &&
        (await target.mount(descriptor, first.repository, { signal: this.#options.signal }))
      ) {
        this.#options.emit({ type: "blob-skipped", size: descriptor.size, reason: "mounted" });
        return;
      }
      await this.#move(descriptor, image, repository);
    });
  }

  async #move(descriptor: Descriptor, image: PlannedImage, repository: string): Promise<void> {
    const { emit, signal } = this.#options;
    const target = this.#ends.target(repository);
    if (await target.has(descriptor, { signal })) {
      emit({ type: "blob-skipped", size: descriptor.size, reason: "exists" });
      return;
    }
    const source = this.#ends.source(image);
    const blob: BlobSource = {
      descriptor,
      isManifest: false,
      open: async (offset, stop) => await source.open(descriptor, { offset, signal: stop ?? signal }),
    };
    const key = keyOf(this.#ends.placeOf(repository), descriptor.digest);
    emit({ type: "blob-started", key, name: shortDigest(descriptor.digest), size: descriptor.size });
    const push = async (): Promise<void> => {
      await target.push(blob, {
        signal,
        onProgress: (offset) => emit({ type: "blob-progress", key, offset }),
      });
    };
    try {
      await push().catch(async (error: unknown) => {
        if (!isAppError(error, "INTEGRITY")) throw error;
        // A bit can flip under way: one clean second try tells that from content that is wrong at its source.
        emit({ type: "retrying", what: `copy ${descriptor.digest}`, attempt: 1, delayMs: 0, cause: error });
        await push();
      });
      emit({ type: "blob-finished", key, size: descriptor.size });
    } catch (error) {
      emit({ type: "blob-failed", key, error: toAppError(error) });
      throw error;
    }
  }

  async #finish(image: PlannedImage): Promise<ImageOutcome> {
    const { emit } = this.#options;
    try {
      if (!image.unchanged) await this.#complete(image);
      emit({
        type: "image-finished",
        image: image.source,
        digest: image.root.digest,
        unchanged: image.unchanged,
      });
      return { image };
    } catch (thrown) {
      const error = toAppError(thrown);
      if (!this.#options.signal.aborted) emit({ type: "image-failed", image: image.source, error });
      this.#options.onFailure?.(error);
      return { image, error };
    }
  }

  async #complete(image: PlannedImage): Promise<void> {
    const place = this.#ends.placeOf(image.target.repository);
    const blobs = image.nodes.filter((node) => node.role !== "manifest");
    await Promise.all(
      blobs.map(async ({ descriptor }) => await this.#moves.get(keyOf(place, descriptor.digest))),
    );
    const manifests = image.nodes.filter(
      (node) => node.role === "manifest" && node.descriptor.digest !== image.root.digest,
    );
    // Most are manifests of one platform each, which do not need one another; an index among them needs those
    // before it, so it waits for all that precede it.
    let pending: Promise<void>[] = [];
    for (const { descriptor } of manifests) {
      if (isIndex(descriptor)) {
        await Promise.all(pending);
        pending = [];
      }
      const stored = this.#store(descriptor, image, place);
      stored.catch(() => undefined);
      pending.push(stored);
    }
    await Promise.all(pending);
    if (image.target.tag === undefined) await this.#store(image.root, image, place);
    else await this.#tag(image, image.target.tag);
  }

  #store(descriptor: Descriptor, image: PlannedImage, place: string): Promise<void> {
    const key = keyOf(place, descriptor.digest);
    const known = this.#manifests.get(key);
    if (known !== undefined) return known;
    const stored = this.#pushManifest(
      descriptor,
      async (target, blob) => {
        await target.push(blob, { signal: this.#options.signal });
      },
      image.target.repository,
    );
    this.#manifests.set(key, stored);
    return stored;
  }

  async #tag(image: PlannedImage, tag: string): Promise<void> {
    await this.#pushManifest(
      image.root,
      async (target, blob) => {
        await target.tag(blob, tag, { signal: this.#options.signal });
      },
      image.target.repository,
    );
  }

  async #pushManifest(
    descriptor: Descriptor,
    push: (target: Target, blob: BlobSource) => Promise<void>,
    repository: string,
  ): Promise<void> {
    await this.#ends.manifestLimit(async () => {
      this.#options.signal.throwIfAborted();
      await push(this.#ends.target(repository), this.#ends.manifests.source(descriptor));
    });
    this.#options.emit({
      type: "blob-finished",
      key: keyOf(repository, descriptor.digest),
      size: descriptor.size,
    });
  }

  /** Runs a transfer inside the limits of both sides, taken in one order everywhere so that none waits in a ring. */
  async #limited(image: PlannedImage, run: () => Promise<void>): Promise<void> {
    const distinct = [...new Set(this.#ends.limits(image))];
    const guarded = async (): Promise<void> => {
      this.#options.signal.throwIfAborted();
      await run();
    };
    const nested = distinct.reduceRight<() => Promise<void>>(
      (inner, limit) => async () => await limit(inner),
      guarded,
    );
    await nested();
  }
}

function collect(images: readonly PlannedImage[], placeOf: CopyEnds["placeOf"]): Transfer[] {
  const transfers = new Map<Digest, Transfer>();
  for (const image of images) {
    const { repository } = image.target;
    const place = placeOf(repository);
    for (const { role, descriptor } of image.nodes) {
      if (role === "manifest") continue;
      const transfer = transfers.get(descriptor.digest) ?? {
        descriptor,
        image,
        repositories: new Map<string, string>(),
      };
      transfers.set(descriptor.digest, transfer);
      if (!transfer.repositories.has(place)) transfer.repositories.set(place, repository);
    }
  }
  return [...transfers.values()];
}

function keyOf(place: string, digest: Digest): string {
  return `${place} ${digest}`;
}

function isIndex(descriptor: Descriptor): boolean {
  return isIndexType(descriptor.mediaType);
}
