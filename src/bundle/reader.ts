/**
 * Reads a bundle in place: `mirror.json` and the layout rule give every offset, so nothing is unpacked or searched.
 * Each header is compared with the one that the layout rule makes, so a damaged one is found with the blob's name.
 */
import { open, stat } from "node:fs/promises";
import type {
  ByteStream,
  ManifestOptions,
  OpenOptions,
  RawManifest,
  SeveralPlaces,
} from "../content/content.ts";
import { readAll, verified } from "../content/verify.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import type { Bundle } from "./bundle.ts";
import { type BundleBase, type LeanedBlob, type Leaning, leftOutError } from "./delta.ts";
import { asDiskError, readExactly } from "./disk.ts";
import { type FileIdentity, identify, refuseChanged } from "./file-identity.ts";
import { type ByteRange, readFileRange } from "./file-range.ts";
import { noSuchImage, rootOf, rootType } from "./find-image.ts";
import type { BlobEntry, BundleContents, Layout } from "./layout.ts";
import type { BundleDescription, BundleImage } from "./metadata.ts";
import type { PositionalReader } from "./positional-file.ts";
import { proveMetadata } from "./prove-metadata.ts";
import { checkHeader, compareHeader, damaged, readMetadata } from "./read-metadata.ts";
import { findDamagedGaps } from "./volumes/gaps.ts";
import { type VolumeOptions, VolumeSet } from "./volumes/volume-set.ts";

/** Up to this size, header and content are read at once. Bytes. */
const smallBlobBytes = 256 * 1024;

/** An open bundle. Close it when done. */
export class BundleReader implements Bundle, Leaning, SeveralPlaces {
  readonly path: string;
  readonly images: readonly BundleImage[];
  readonly contents: BundleContents;
  readonly totalBytes: number;
  /** What it leans on, if it is a delta: these blobs are not in it. */
  readonly base: BundleBase | undefined;
  /** The digest of its `mirror.json`: what deltas know it by. */
  readonly fingerprint: Digest;
  readonly #leaned: ReadonlyMap<Digest, LeanedBlob>;
  readonly #file: PositionalReader;
  readonly #layout: Layout;
  readonly #identity: FileIdentity;
  /** Content that was wrong when it was read last. */
  readonly #doubted = new Set<Digest>();

  private constructor(
    path: string,
    { file, identity }: { file: PositionalReader; identity: FileIdentity },
    description: Pick<BundleDescription, "images" | "contents" | "base">,
    layout: Layout & { readonly fingerprint: Digest },
  ) {
    this.path = path;
    this.images = description.images;
    this.contents = description.contents;
    this.totalBytes = layout.totalBytes;
    this.base = description.base;
    this.fingerprint = layout.fingerprint;
    this.#leaned = new Map(description.base?.blobs.map((blob) => [blob.digest, blob]));
    this.#file = file;
    this.#identity = identity;
    this.#layout = layout;
  }

  /**
   * Opens a bundle, in one file or in volumes, and proves its metadata. Throws NOT_FOUND or DISK if the file cannot be opened, BUNDLE if it
   * is none, INTEGRITY if it is damaged or truncated.
   */
  static async open(named: string, options: VolumeOptions = {}): Promise<BundleReader> {
    const volumes = await VolumeSet.open(named, options);
    const path = options.asWhole === true ? (volumes?.path ?? named) : named;
    const file = volumes ?? (await openFile(path));
    try {
      const found = await identify(file, path);
      const metadata = await readMetadata(file, path);
      const { description, layout, fingerprint } = await proveMetadata(metadata, (state) =>
        damaged(path, state),
      );
      for (const entry of layout.metadata) await checkHeader(file, path, entry, entry.path);
      if (found.size !== layout.totalBytes) {
        const state = found.size < layout.totalBytes ? "truncated" : "longer than it should be";
        throw damaged(path, `it is ${state}: ${found.size} bytes, expected ${layout.totalBytes}`);
      }
      return new BundleReader(path, { file, identity: found }, description, { ...layout, fingerprint });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The images by the name they were asked for, or by digest. */
  async resolve(reference: string): Promise<Descriptor> {
    const root = rootOf(this, reference);
    if (root === undefined) throw noSuchImage(this, reference);
    return root;
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const digest = isDigest(reference) ? reference : (await this.resolve(reference)).digest;
    const entry = this.#entry(digest);
    const descriptor = { mediaType: "", digest, size: entry.size };
    const content = await this.open(descriptor, options);
    const bytes = await readAll(content, descriptor, maxManifestBytes).catch(async (error: unknown) => {
      throw await this.#judged(error, digest);
    });
    const { mediaType } = parseManifest(bytes, options.mediaType ?? rootType(this, digest) ?? "", digest);
    return { bytes, descriptor: { mediaType, digest, size: entry.size } };
  }

  async open(descriptor: Descriptor, options: OpenOptions = {}): Promise<ByteStream> {
    const entry = this.#entry(descriptor.digest);
    if (entry.size !== descriptor.size) {
      throw damaged(
        this.path,
        `${descriptor.digest} is ${entry.size} bytes in it, and ${descriptor.size} in the manifest`,
      );
    }
    if (!this.#doubted.has(descriptor.digest)) return this.#read(entry, options);
    await this.refuseChanged();
    const content = this.#read(entry, options);
    return (options.offset ?? 0) > 0 ? content : this.#proved(content, descriptor);
  }

  /**
   * Told that content was wrong as it came: the next time it is read, the reader looks whether the file has changed
   * since it was opened, and proves the content itself, so that the error names the file. There is no other place.
   */
  distrust({ digest }: Descriptor): boolean {
    this.#doubted.add(digest);
    return false;
  }

  /** Throws DISK if the file has changed since it was opened: what is wrong with it then says nothing of the bundle. */
  async refuseChanged(): Promise<void> {
    await refuseChanged(this.#file, this.path, this.#identity);
  }

  /** Equal for bundles that are to have the same bytes. */
  get layoutId(): string {
    return this.#layout.id;
  }

  /** The volumes that the bundle is read from; undefined if it is one file. */
  get volumes(): VolumeSet | undefined {
    return this.#file instanceof VolumeSet ? this.#file : undefined;
  }

  /** The volumes that some of this content lies in, by number; empty for a bundle in one file. */
  volumesHolding(digest: Digest): readonly number[] {
    const extent = this.#extentOf(digest);
    return extent === undefined ? [] : (this.volumes?.holding(extent) ?? []);
  }

  /** Keeps what is at hand of these contents for a later run; see {@link VolumeSet.keep}. */
  async keepRest(digests: Iterable<Digest>): ReturnType<VolumeSet["keep"]> {
    return await this.volumes?.keep([...digests].flatMap((digest) => this.#extentOf(digest) ?? []));
  }

  /** The volumes in which what lies between the contents is not as it was written: no digest tells. Throws DISK. */
  async damagedGaps(signal?: AbortSignal): Promise<readonly number[]> {
    return this.volumes === undefined ? [] : await findDamagedGaps(this.volumes, this.#layout, signal);
  }

  /** True if it is in one file, or in volumes of so many bytes that are all there, and so are their lists. */
  isWholeIn(volumeBytes: number | undefined): boolean {
    const { volumes } = this;
    if (volumes?.volumeBytes !== volumeBytes) return false;
    return (
      volumes?.states.every(({ volume, state }) => state === "there" && !volumes.isDamaged(volume)) ?? true
    );
  }

  /** The file names of the volumes that hold some of this content and are not there; empty if all of it is. */
  lacking(digest: Digest): readonly string[] {
    const extent = this.#extentOf(digest);
    return extent === undefined ? [] : (this.volumes?.lacking(extent) ?? []);
  }

  /** True if the bundle has this content (which is not yet to say that it is undamaged, or that its volumes are there). */
  has(digest: Digest): boolean {
    return this.#layout.blobs.has(digest);
  }

  /** True for content that is not in it, since it is a delta and leans on it. */
  leavesOut({ digest, size }: Pick<Descriptor, "digest" | "size">): boolean {
    return !this.#layout.blobs.has(digest) && this.#leaned.get(digest)?.size === size;
  }

  /** Every blob and manifest with its size, in the order of the file. */
  blobs(): Iterable<BlobEntry> {
    return this.#layout.blobs.values();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  /** Where content lies, with its header; undefined for what is not in the bundle. */
  #extentOf(digest: Digest): ByteRange | undefined {
    const entry = this.#layout.blobs.get(digest);
    if (entry === undefined) return undefined;
    const { headerOffset: position, contentOffset, size } = entry;
    return { position, length: contentOffset + size - position };
  }

  #entry(digest: Digest): BlobEntry {
    const entry = this.#layout.blobs.get(digest);
    if (entry !== undefined) return entry;
    const blob = this.#leaned.get(digest);
    if (blob !== undefined && this.base !== undefined) throw leftOutError(this.path, this.base, blob);
    throw damaged(this.path, `${digest} is missing`);
  }

  async *#read(entry: BlobEntry, { offset = 0, signal }: OpenOptions): AsyncGenerator<Uint8Array, void> {
    const name = `${entry.digest} in ${this.path}`;
    try {
      if (offset === 0 && entry.size <= smallBlobBytes) {
        const length = entry.header.byteLength + entry.size;
        const bytes = await readExactly(this.#file, entry.headerOffset, length, name);
        compareHeader(bytes.subarray(0, entry.header.byteLength), this.path, entry, entry.digest);
        if (entry.size > 0) yield bytes.subarray(entry.header.byteLength);
        return;
      }
      if (offset === 0) await checkHeader(this.#file, this.path, entry, entry.digest);
      const content = readFileRange(this.#file, entry.contentOffset + offset, entry.size - offset, name);
      for await (const chunk of content) {
        signal?.throwIfAborted();
        yield chunk;
      }
    } catch (error) {
      // It was whole when it was opened.
      if (isAppError(error, "INTEGRITY")) await this.refuseChanged();
      throw error;
    }
  }

  async *#proved(content: ByteStream, descriptor: Descriptor): AsyncGenerator<Uint8Array, void> {
    try {
      yield* verified(content, descriptor);
    } catch (error) {
      throw await this.#judged(error, descriptor.digest);
    }
  }

  /** In words, where content lies; empty for a bundle in one file. */
  #volumesOf(digest: Digest): string {
    const { volumes } = this;
    const names = volumes === undefined ? [] : this.volumesHolding(digest).map((at) => volumes.nameOf(at));
    const all = names.length > 2 ? `${names[0]} to ${names.at(-1)}` : names.join(" and ");
    return all === "" ? "" : ` in ${all}`;
  }

  /** The error for content that is wrong, by the name of the file. */
  async #judged(error: unknown, digest: Digest): Promise<unknown> {
    // What the reader itself has found names the file, and no digest alone.
    if (!isAppError(error, "INTEGRITY") || error.details?.["digest"] !== digest) return error;
    await this.refuseChanged();
    const state = error.message.slice(`Cannot verify ${digest}: `.length);
    return damaged(this.path, `${digest}${this.#volumesOf(digest)} is damaged: ${state}`, error);
  }
}

async function openFile(path: string): Promise<PositionalReader> {
  const unreadable = asDiskError(`read ${path}`);
  // A pipe is not even opened: that would wait for its other end.
  if (!(await stat(path).catch(unreadable)).isFile()) {
    throw new AppError("BUNDLE", `Cannot read ${path}: it is not a file`, {
      hint: "name the bundle that mirror pull wrote",
    });
  }
  return await open(path, "r").catch(unreadable);
}
