/**
 * One plan from its sources to a target. The rules: every distinct blob moves once, the largest first; other
 * repositories of the same registry mount it; children before parents; tags last. A failure costs the images that
 * need the content, and no others. Nobody holds a slot while waiting for somebody else.
 */
import { type BlobSource, canMount, canRead, orderOf, type Pushed, type Source } from "../content/content.ts";
import { goesBy, type Passage } from "../content/passage.ts";
import { insisting } from "../content/verify.ts";
import { AppError, isAppError, toAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { shortDigest } from "../oci/digest.ts";
import type { CopyEnds, CopyOptions } from "./ends.ts";
import { concernsAll } from "./fatal.ts";
import { ManifestWriter } from "./manifest-writer.ts";
import { isBlob } from "./node.ts";
import type { Plan, PlannedImage } from "./plan.ts";
import { collectTransfers, inOrder, keyOf, type Need, type Transfer } from "./transfers.ts";

/** What became of an image. One that was given up because another failed has the code INTERRUPTED. */
export interface ImageOutcome {
  readonly image: PlannedImage;
  readonly error?: AppError;
}

/**
 * Copies all images of a plan; resolves with what became of each, when nothing is under way any more. Throws only
 * for an aborted signal, and DISK for a bundle that cannot be written or read any more: that is no image's fault.
 */
export async function copyPlan(
  plan: Plan,
  ends: CopyEnds,
  options: CopyOptions,
): Promise<readonly ImageOutcome[]> {
  const copier = new Copier(ends, options);
  const outcomes = await copier.copy(plan.images);
  options.signal.throwIfAborted();
  if (copier.fatal !== undefined) throw copier.fatal;
  return outcomes;
}

class Copier {
  readonly #ends: CopyEnds;
  readonly #options: CopyOptions;
  /** What is under way or done, by place and digest. */
  readonly #moves = new Map<string, Promise<void>>();
  /** What this run has brought to its place, so that it was not there before. */
  readonly #brought = new Set<string>();
  readonly #manifests: ManifestWriter;
  readonly #failed = new Set<PlannedImage>();
  /** What ended the run as a whole. */
  fatal: AppError | undefined;
  /** Ends what is under way at a failure that concerns all images, and at the first one where that is wanted. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;

  constructor(ends: CopyEnds, options: CopyOptions) {
    this.#ends = ends;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    const again = async (descriptor: Descriptor, need: Need): Promise<void> =>
      await this.#limited(need, async () => await this.#move(descriptor, need, { force: true }));
    this.#manifests = new ManifestWriter(ends, { ...options, signal: this.#signal }, again, this.#brought);
  }

  async copy(images: readonly PlannedImage[]): Promise<ImageOutcome[]> {
    const [first] = images;
    const order = first === undefined ? undefined : orderOf(this.#ends.source(first));
    const transfers = collectTransfers(images, this.#ends.placeOf, order);
    const { passage } = this.#ends;
    if (passage === undefined) for (const transfer of transfers) this.#start(transfer);
    else for (const transfer of inOrder(transfers, passage)) this.#startInTurn(transfer, passage);
    const outcomes = await Promise.all(images.map(async (image) => await this.#finish(image)));
    // What a failed image has under way would go on writing into what the caller closes.
    await Promise.allSettled([...this.#moves.values(), this.#manifests.settled()]);
    return outcomes;
  }

  #start({ descriptor, needs }: Transfer): void {
    let first: { readonly repository: string; readonly moved: Promise<void> } | undefined;
    for (const need of needs.values()) {
      const moved =
        first === undefined
          ? this.#limited(need, async () => await this.#move(descriptor, need))
          : this.#follow(first, descriptor, need);
      // Whoever needs the blob awaits it; if all of them have failed before, nobody does.
      moved.catch(() => undefined);
      this.#moves.set(keyOf(need.place, descriptor.digest), moved);
      first ??= { repository: need.repository, moved };
    }
  }

  /**
   * A blob that goes by is there for all of its needs at once, in one turn: one after the other until it has arrived
   * for one of them. The others mount it, and where that is refused, it is read back from the target.
   */
  #startInTurn({ descriptor, needs }: Transfer, passage: Passage): void {
    const turns = [...needs.values()].map((need) => ({ need, ...Promise.withResolvers<void>() }));
    const [first] = turns;
    if (first === undefined) return;
    for (const { need, promise } of turns) {
      promise.catch(() => undefined);
      this.#moves.set(keyOf(need.place, descriptor.digest), promise);
    }
    const pass = async (): Promise<void> => {
      for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) {
        const { need, resolve, reject } = turn;
        try {
          this.#refuseGivenUp(need);
          await this.#move(descriptor, need);
        } catch (error) {
          reject(error);
          continue;
        }
        resolve();
        const there = { repository: need.repository, moved: Promise.resolve(), isGone: true };
        for (const other of turns.splice(0))
          this.#follow(there, descriptor, other.need).then(other.resolve, other.reject);
      }
    };
    passage
      .admit(descriptor, this.#signal)
      .then(async () => await this.#limited(first.need, pass, false))
      .catch((error: unknown) => {
        for (const { reject } of [first, ...turns]) reject(error);
      })
      .finally(() => passage.release(descriptor.digest));
  }

  /** The same blob for another repository: mounted once the first one has it, moved if that fails. */
  async #follow(
    first: { repository: string; moved: Promise<void>; isGone?: boolean },
    descriptor: Descriptor,
    need: Need,
  ): Promise<void> {
    const arrived = await first.moved.then(
      () => true,
      () => false,
    );
    await this.#limited(need, async () => {
      const target = this.#ends.target(need.repository);
      if (
        arrived &&
        canMount(target) &&
        (await target.mount(descriptor, first.repository, { signal: this.#signal }))
      ) {
        this.#options.emit({ type: "blob-skipped", size: descriptor.size, reason: "mounted" });
        this.#brought.add(keyOf(need.place, descriptor.digest));
        return;
      }
      const back = first.isGone === true ? this.#ends.target(first.repository) : undefined;
      await this.#move(descriptor, need, back !== undefined && canRead(back) ? { from: back } : {});
    });
  }

  async #move(
    descriptor: Descriptor,
    { place, repository, images }: Need,
    { force = false, from }: { readonly force?: boolean; readonly from?: Pick<Source, "open"> } = {},
  ): Promise<void> {
    const { emit } = this.#options;
    const target = this.#ends.target(repository);
    const key = keyOf(place, descriptor.digest);
    const onStart = (): void => {
      emit({ type: "blob-started", key, name: shortDigest(descriptor.digest), size: descriptor.size });
    };
    const sources = from === undefined ? images.map((image) => this.#ends.source(image)) : [from];
    const [source, ...others] = [...new Set(sources)];
    if (source === undefined) throw new AppError("INTERNAL", `nobody has ${descriptor.digest}`);
    let reused = 0;
    const push = async (from: Pick<Source, "open">): Promise<Pushed> =>
      await target.push(this.#blob(descriptor, from), {
        signal: this.#signal,
        onStart,
        onKept: (bytes) => {
          reused = bytes;
        },
        onProgress: (offset) => emit({ type: "blob-progress", key, offset }),
        force,
      });
    try {
      let pushed = insisting(
        source,
        descriptor,
        async () => await push(source),
        (cause) =>
          emit({ type: "retrying", what: `copy ${descriptor.digest}`, attempt: 1, delayMs: 0, cause }),
      );
      for (const other of others) {
        // What is missing or damaged in one repository need not be so in another.
        pushed = pushed.catch(async (error: unknown) => {
          if (!isAppError(error, "NOT_FOUND", "INTEGRITY", "DENIED", "AUTH")) throw error;
          return await push(other);
        });
      }
      const outcome = await pushed;
      const { size } = descriptor;
      if (outcome === "stored") this.#brought.add(key);
      if (outcome === "present") emit({ type: "blob-skipped", size, reason: "exists" });
      else if (outcome === "kept") emit({ type: "blob-skipped", size, reason: "reused", key });
      else emit({ type: "blob-finished", key, size, reused });
    } catch (error) {
      emit({ type: "blob-failed", key, error: toAppError(error) });
      throw error;
    }
  }

  #blob(descriptor: Descriptor, source: Pick<Source, "open">): BlobSource {
    const passing = goesBy(source) ? source : undefined;
    return {
      ...(passing === undefined
        ? {}
        : {
            replayBytes: passing.replayBytes,
            onStored: (offset: number) => passing.settle(descriptor.digest, offset),
          }),
      descriptor,
      isManifest: false,
      waits: orderOf(source) !== undefined,
      open: async (offset, stop) => await source.open(descriptor, { offset, signal: stop ?? this.#signal }),
    };
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
      this.#failed.add(image);
      if (this.#signal.aborted) return { image, error: givenUp(image, thrown) };
      const error = toAppError(thrown);
      if (error === this.#ends.waits?.(image)) {
        emit({ type: "image-waiting", image: image.source, error });
        return { image, error };
      }
      if (concernsAll(error)) {
        this.fatal = error;
        this.#stop.abort(error);
        return { image, error: givenUp(image, error) };
      }
      emit({ type: "image-failed", image: image.source, error });
      if (this.#options.failFast === true) this.#stop.abort(error);
      return { image, error };
    }
  }

  async #complete(image: PlannedImage): Promise<void> {
    const place = this.#ends.placeOf(image.target.repository);
    const blobs = image.nodes.filter(isBlob);
    const moves = blobs.map(async ({ descriptor }) => await this.#moves.get(keyOf(place, descriptor.digest)));
    const waits = this.#ends.waits?.(image);
    if (waits !== undefined) {
      // A failure would give up what the image has besides.
      const settled = await Promise.allSettled(moves);
      const broken = settled.find((move): move is PromiseRejectedResult => move.status === "rejected");
      throw broken === undefined ? waits : toAppError(broken.reason);
    }
    await Promise.all(moves);
    await this.#manifests.write(image);
  }

  /** Runs a transfer inside the limits of both sides, taken in one order everywhere so that none waits in a ring. */
  async #limited(need: Need, run: () => Promise<void>, asks = true): Promise<void> {
    const { images } = need;
    const distinct = [...new Set(images.slice(0, 1).flatMap((image) => this.#ends.limits(image)))];
    const guarded = async (): Promise<void> => {
      this.#signal.throwIfAborted();
      if (asks) this.#refuseGivenUp(need);
      await run();
    };
    const nested = distinct.reduceRight<() => Promise<void>>(
      (inner, limit) => async () => await limit(inner),
      guarded,
    );
    await nested();
  }

  /** Throws if all that need it have failed. */
  #refuseGivenUp({ images }: Need): void {
    this.#signal.throwIfAborted();
    const [image] = images;
    if (image !== undefined && images.every((needing) => this.#failed.has(needing)))
      throw givenUp(image, undefined);
  }
}

/** The error of an image that is not to blame for its end. */
function givenUp(image: PlannedImage, cause: unknown): AppError {
  return new AppError("INTERRUPTED", `Stopped copying ${image.source}`, { cause });
}
