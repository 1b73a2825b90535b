/** The table of contents of a bundle in a pipe, with its manifests: all that is known of it before the blobs come. */
import type { ManifestOptions, RawManifest } from "../../content/content.ts";
import { AppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { type Digest, isDigest } from "../../oci/digest.ts";
import { parseManifest } from "../../oci/manifest.ts";
import { type BundleBase, type LeanedBlob, leftOutError } from "../delta.ts";
import { rootOf, rootType } from "../find-image.ts";
import type { BlobEntry } from "../layout.ts";
import type { BundleImage } from "../metadata.ts";
import type { Front } from "./front.ts";
import { damaged } from "./pipe-errors.ts";

export class FrontTable {
  readonly images: readonly BundleImage[];
  readonly base: BundleBase | undefined;
  readonly #name: string;
  readonly #blobs: ReadonlyMap<Digest, BlobEntry>;
  readonly #manifests: Front["manifests"];
  readonly #leaned: ReadonlyMap<Digest, LeanedBlob>;

  /** `name`: what the pipe is called in messages. */
  constructor(name: string, { description, layout, manifests }: Front) {
    this.images = description.images;
    this.base = description.base;
    this.#name = name;
    this.#blobs = layout.blobs;
    this.#manifests = manifests;
    this.#leaned = new Map(description.base?.blobs.map((blob) => [blob.digest, blob]));
  }

  /** The images by the name they were asked for, or by digest. Throws NOT_FOUND. */
  resolve(reference: string): Descriptor {
    const root = rootOf(this, reference);
    if (root !== undefined) return root;
    throw new AppError("NOT_FOUND", `Cannot find ${reference} in ${this.#name}`);
  }

  /** A manifest by the name of its image, or by digest. Throws NOT_FOUND, or INTEGRITY if it is damaged. */
  manifest(reference: string, options: ManifestOptions = {}): RawManifest {
    const digest = isDigest(reference) ? reference : this.resolve(reference).digest;
    const bytes = this.#manifests.get(digest);
    if (bytes instanceof AppError) throw bytes;
    if (bytes === undefined) {
      // An index may lead to content that is no manifest.
      if (this.has(digest)) throw new AppError("NOT_FOUND", `${digest} is no manifest in ${this.#name}`);
      throw damaged(this.#name, `${digest} is missing`);
    }
    const { mediaType } = parseManifest(bytes, options.mediaType ?? rootType(this, digest) ?? "", digest);
    return { bytes, descriptor: { mediaType, digest, size: bytes.byteLength } };
  }

  /** Where content lies. Throws NOT_FOUND for what a delta leaves out, INTEGRITY for what is not there as it should be. */
  entry({ digest, size }: Pick<Descriptor, "digest" | "size">): BlobEntry {
    const entry = this.#blobs.get(digest);
    const leaned = this.#leaned.get(digest);
    if (entry === undefined && leaned !== undefined && this.base !== undefined)
      throw leftOutError(this.#name, this.base, leaned);
    if (entry === undefined) throw damaged(this.#name, `${digest} is missing`);
    if (entry.size !== size)
      throw damaged(this.#name, `${digest} is ${entry.size} bytes in it, and ${size} in the manifest`);
    return entry;
  }

  has(digest: Digest): boolean {
    return this.#blobs.has(digest);
  }

  leavesOut({ digest, size }: Pick<Descriptor, "digest" | "size">): boolean {
    return !this.#blobs.has(digest) && this.#leaned.get(digest)?.size === size;
  }
}
