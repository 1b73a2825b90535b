/**
 * The manifests of images, written once their blobs are there: children before parents, the tag last. A target that
 * lacks parts it said it had gets them for real, once. What it has of an image that was there before is not sent again.
 */
import type { BlobSource, Target } from "../content/content.ts";
import { MissingParts } from "../content/missing-parts.ts";
import { backoffMs, systemClock } from "../content/retry.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest, successors } from "../oci/manifest.ts";
import { isIndexType } from "../oci/media-types.ts";
import type { CopyEnds, CopyOptions } from "./ends.ts";
import { maxRepairs, partsToSend } from "./missing.ts";
import type { PlannedImage } from "./plan.ts";
import { keyOf, type Need } from "./transfers.ts";

type Push = (target: Target, blob: BlobSource) => Promise<void>;

/** Writes the manifests of all images of a copy. */
export class ManifestWriter {
  readonly #ends: CopyEnds;
  readonly #options: CopyOptions;
  readonly #sendAgain: (blob: Descriptor, need: Need) => Promise<void>;
  /** What was not there before this run, by place and digest: its blobs and manifests. */
  readonly #brought: Set<string>;
  /** What is under way or done, by place and digest. */
  readonly #stored = new Map<string, Promise<void>>();
  /** What was sent for real because the target did not have it after all. */
  readonly #resent = new Map<string, Promise<void>>();

  /**
   * `sendAgain` sends a blob although the target says that it is there. `brought` has the blobs that were not there
   * before, by place and digest.
   */
  constructor(
    ends: CopyEnds,
    options: CopyOptions,
    sendAgain: (blob: Descriptor, need: Need) => Promise<void>,
    brought: Set<string>,
  ) {
    this.#ends = ends;
    this.#options = options;
    this.#sendAgain = sendAgain;
    this.#brought = brought;
  }

  /** Writes the manifests of one image, whose blobs are there, and sets its tag. */
  async write(image: PlannedImage): Promise<void> {
    const manifests = image.nodes.filter(
      (node) => node.role === "manifest" && node.descriptor.digest !== image.root.digest,
    );
    // Most are manifests of one platform each, which do not need one another; an index among them needs those
    // before it, so it waits for all that precede it.
    let pending: Promise<void>[] = [];
    for (const { descriptor } of manifests) {
      if (isIndexType(descriptor.mediaType)) {
        await Promise.all(pending);
        pending = [];
      }
      const stored = this.#store(descriptor, image, true);
      stored.catch(() => undefined);
      pending.push(stored);
    }
    await Promise.all(pending);
    const { tag } = image.target;
    const { signal } = this.#options;
    // The plan has asked for the root: it is not there, or its tag is elsewhere.
    if (tag === undefined) await this.#store(image.root, image, false);
    else await this.#push(image.root, async (target, blob) => await target.tag(blob, tag, { signal }), image);
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#stored.values(), ...this.#resent.values()]);
  }

  #store(descriptor: Descriptor, image: PlannedImage, asks: boolean): Promise<void> {
    const place = this.#ends.placeOf(image.target.repository);
    const key = keyOf(place, descriptor.digest);
    const known = this.#stored.get(key);
    if (known !== undefined) return known;
    const store = async (): Promise<void> => {
      if (asks && this.#mayBeThere(descriptor, place) && (await this.#isThere(descriptor, image))) {
        this.#options.emit({ type: "blob-skipped", size: descriptor.size, reason: "exists" });
        return;
      }
      this.#brought.add(key);
      await this.#push(descriptor, this.#byDigest, image);
    };
    const stored = store();
    this.#stored.set(key, stored);
    return stored;
  }

  /**
   * False if that is not worth a question: parts of it were not there, so it was not either. One with a subject is
   * written at any rate, since a run may have ended before its subject led to it.
   */
  #mayBeThere({ digest, mediaType }: Descriptor, place: string): boolean {
    const parsed = parseManifest(this.#ends.manifests.get(digest), mediaType, digest);
    if (parsed.subject !== undefined) return false;
    return !successors(parsed).some((part) => this.#brought.has(keyOf(place, part.digest)));
  }

  async #isThere(descriptor: Descriptor, image: PlannedImage): Promise<boolean> {
    const { signal } = this.#options;
    return await this.#ends.manifestLimit(async () => {
      signal.throwIfAborted();
      const target = this.#ends.target(image.target.repository);
      return await target.has(descriptor, { signal }).catch((error: unknown) => {
        // Who may not look may write all the same.
        if (isAppError(error, "DENIED", "AUTH", "REGISTRY")) return false;
        throw error;
      });
    });
  }

  readonly #byDigest: Push = async (target, blob) => {
    await target.push(blob, { signal: this.#options.signal });
  };

  async #push(descriptor: Descriptor, push: Push, image: PlannedImage): Promise<void> {
    const { repository } = image.target;
    const target = this.#ends.target(repository);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#ends.manifestLimit(async () => {
          this.#options.signal.throwIfAborted();
          await push(target, this.#ends.manifests.source(descriptor));
        });
        break;
      } catch (error) {
        // Without a slot: what is sent again takes those of its own.
        if (!(error instanceof MissingParts) || attempt > maxRepairs) throw error;
        await this.#repair(descriptor, image, error, attempt);
      }
    }
    const key = keyOf(repository, descriptor.digest);
    this.#options.emit({ type: "blob-finished", key, size: descriptor.size });
  }

  /** The target lacks parts of a manifest that it has got, or said that it had: they are sent, each once a place. */
  async #repair(
    descriptor: Descriptor,
    image: PlannedImage,
    refusal: MissingParts,
    attempt: number,
  ): Promise<void> {
    const { emit, signal, clock = systemClock } = this.#options;
    const manifest = { descriptor, bytes: this.#ends.manifests.get(descriptor.digest) };
    const target = this.#ends.target(image.target.repository);
    const parts = await partsToSend(refusal, manifest, target, { signal, attempt });
    const delayMs = backoffMs(attempt, clock);
    emit({ type: "retrying", what: `write ${descriptor.digest}`, attempt, delayMs, cause: refusal });
    await Promise.all(parts.map(async (part) => await this.#resend(part, image)));
    await clock.sleep(delayMs, signal);
  }

  #resend(part: Descriptor, image: PlannedImage): Promise<void> {
    const { repository } = image.target;
    const place = this.#ends.placeOf(repository);
    const key = keyOf(place, part.digest);
    const known = this.#resent.get(key);
    if (known !== undefined) return known;
    const node = image.nodes.find(({ descriptor }) => descriptor.digest === part.digest);
    if (node === undefined) return Promise.resolve();
    const sent =
      node.role === "manifest"
        ? this.#push(node.descriptor, this.#byDigest, image)
        : this.#sendAgain(node.descriptor, { place, repository, images: [image] });
    sent.catch(() => undefined);
    this.#resent.set(key, sent);
    return sent;
  }
}
