/** An archive or a layout that another tool wrote, as a bundle: read where it lies, nothing unpacked, all proved. */
import type {
  ByteStream,
  ManifestOptions,
  OpenOptions,
  Proved,
  RawManifest,
  SeveralPlaces,
} from "../../content/content.ts";
import { once } from "../../content/once.ts";
import { readAll, verified } from "../../content/verify.ts";
import { AppError } from "../../errors.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { type Digest, digestOf, isDigest } from "../../oci/digest.ts";
import { maxManifestBytes, type Parsed, parseManifest, successors } from "../../oci/manifest.ts";
import { isForeignLayerType, isManifestOrIndexType, mediaTypes } from "../../oci/media-types.ts";
import { platformName } from "../../oci/platform.ts";
import type { Bundle } from "../bundle.ts";
import { noSuchImage, rootOf } from "../find-image.ts";
import { blobPath } from "../layout.ts";
import { type BundleImage, imageName } from "../metadata.ts";
import { damagedArchive, unreadArchive } from "./archive-error.ts";
import type { ArchiveFile, ArchiveFiles } from "./archive-files.ts";
import { readDockerList } from "./docker-list.ts";
import { type MadeContent, makeRoots } from "./docker-roots.ts";
import { type NameOptions, nameImages } from "./image-names.ts";
import { readOciRoots } from "./oci-roots.ts";
import { readable } from "./tar-scan.ts";

export interface ArchiveOptions extends NameOptions {
  readonly signal?: AbortSignal | undefined;
  /** Gives out an index although some of what it leads to is not there. */
  readonly allowMissing?: boolean | undefined;
  /** Told what is good to know. */
  readonly onNote?: ((message: string) => void) | undefined;
}

export class ArchiveBundle implements Bundle, SeveralPlaces, Proved {
  readonly path: string;
  readonly images: readonly BundleImage[];
  readonly totalBytes: number;
  readonly #files: ArchiveFiles;
  readonly #made: MadeContent | undefined;
  readonly #allowMissing: boolean;
  /** Content that was wrong when it was read last. */
  readonly #doubted = new Set<Digest>();

  private constructor(
    files: ArchiveFiles,
    images: readonly BundleImage[],
    made: MadeContent | undefined,
    allowMissing: boolean,
  ) {
    this.path = files.path;
    this.totalBytes = files.totalBytes;
    this.images = images;
    this.#files = files;
    this.#made = made;
    this.#allowMissing = allowMissing;
  }

  /**
   * Finds out what images there are: by `index.json` where there is one (its manifests are the ones that were pushed or
   * pulled), otherwise by Docker's `manifest.json`. Takes over the files, and closes them if it fails. Throws BUNDLE
   * for what is no archive of images, INTEGRITY for what is damaged, USAGE where a name is missing.
   */
  static async open(files: ArchiveFiles, options: ArchiveOptions = {}): Promise<ArchiveBundle> {
    const { path } = files;
    try {
      const items = await readDockerList(files);
      const isOci = files.find("index.json") !== undefined || files.find("oci-layout") !== undefined;
      if (!isOci && items === undefined)
        throw unreadArchive(path, "it has neither an index.json nor a manifest.json", readable);
      const made = isOci ? undefined : await makeRoots(files, items ?? [], options);
      const tagsOf = (config: Digest): readonly string[] =>
        (items ?? []).flatMap((item) => (item.config === blobPath(config) ? item.tags : []));
      const roots = made?.roots ?? (await readOciRoots(files, tagsOf));
      const images = nameImages(roots, path, options);
      if (made !== undefined) options.onNote?.(madeNote(path, images, made));
      const bundle = new ArchiveBundle(files, images, made, options.allowMissing === true);
      if (made === undefined && items !== undefined) await bundle.#noteSaved(options);
      return bundle;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  async resolve(reference: string): Promise<Descriptor> {
    const root = rootOf(this, reference);
    if (root === undefined) throw noSuchImage(this, reference);
    return root;
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const digest = isDigest(reference) ? reference : (await this.resolve(reference)).digest;
    const made = this.#made?.manifests.get(digest);
    const file = this.#file(digest);
    const size = made?.byteLength ?? file?.size;
    if (size === undefined)
      throw new AppError("NOT_FOUND", `Cannot find ${digest} in ${this.path}`, { details: { digest } });
    const stream =
      made === undefined ? await this.open({ mediaType: "", digest, size }, options) : once(made);
    const bytes = await readAll(stream, { mediaType: "", digest, size }, maxManifestBytes);
    const root = this.images.find((image) => image.root.digest === digest)?.root;
    if (root !== undefined && root.size !== size) throw this.#wrongSize(digest, size, root.size);
    const parsed = parseManifest(bytes, options.mediaType ?? root?.mediaType ?? "", digest);
    this.#checkParts(parsed, digest);
    return { bytes, descriptor: { mediaType: parsed.mediaType, digest, size } };
  }

  async open(descriptor: Descriptor, options: OpenOptions = {}): Promise<ByteStream> {
    const { digest } = descriptor;
    const made = this.#made?.manifests.get(digest);
    if (made !== undefined) return once(made.subarray(options.offset ?? 0));
    const file = this.#file(digest);
    if (file === undefined) throw damagedArchive(this.path, `${digest} is missing`);
    if (file.size !== descriptor.size) throw this.#wrongSize(digest, file.size, descriptor.size);
    const content = await this.#files.open(file, options);
    const whole = (options.offset ?? 0) === 0;
    return whole && this.#doubted.has(digest) ? this.#proved(content, descriptor) : content;
  }

  /** The digest of its table of images. */
  get fingerprint(): Digest {
    return digestOf(
      Buffer.from(JSON.stringify(this.images.map(({ source, root }) => [source, root.digest]))),
    );
  }

  /** Nothing: it is never in volumes. */
  lacking(): readonly string[] {
    return [];
  }

  has(digest: Digest): boolean {
    return this.#made?.manifests.has(digest) === true || this.#file(digest) !== undefined;
  }

  /** Where content lies, for those who read much of it: it is cheap in this order only. Undefined if in any. */
  get order(): ((digest: Digest) => number) | undefined {
    const { order } = this.#files;
    if (order === undefined) return undefined;
    return (digest) => {
      const file = this.#file(digest);
      return file === undefined ? 0 : order(file);
    };
  }

  isProved({ digest, size }: Descriptor): boolean {
    const file = this.#file(digest);
    return file !== undefined && file.size === size && this.#files.digestOf?.(file) === digest;
  }

  async refuseChanged(): Promise<void> {
    await this.#files.refuseChanged();
  }

  /**
   * Told that content was wrong as it came: the next time it is read, it is proved here, so that the error names the
   * archive, or says that the archive has changed. There is no other place.
   */
  distrust({ digest }: Descriptor): boolean {
    this.#doubted.add(digest);
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }

  /** Docker 25 and later write manifests of their own over layers that are not compressed. */
  async #noteSaved({ onNote }: ArchiveOptions): Promise<void> {
    const [first] = this.images;
    if (first === undefined || onNote === undefined) return;
    const raw = await this.manifest(first.root.digest).catch((error: unknown) => {
      if (error instanceof AppError) return undefined;
      throw error;
    });
    if (raw === undefined) return;
    const parsed = parseManifest(raw.bytes, raw.descriptor.mediaType, first.root.digest);
    if (parsed.kind !== "manifest" || parsed.layers.length === 0) return;
    if (parsed.layers.every(({ mediaType }) => mediaType === mediaTypes.ociLayer)) {
      const name = `${imageName(first)} is ${first.root.digest}`;
      onNote(
        `the layers in ${this.path} are not compressed, as docker save writes them: ${name} here, and another digest in the registry that it came from`,
      );
    }
  }

  async *#proved(content: ByteStream, descriptor: Descriptor): AsyncGenerator<Uint8Array, void> {
    const { digest } = descriptor;
    try {
      yield* verified(content, descriptor);
    } catch (error) {
      if (!(error instanceof AppError) || error.details?.["digest"] !== digest) throw error;
      await this.refuseChanged();
      const state = error.message.slice(`Cannot verify ${digest}: `.length);
      throw damagedArchive(this.path, `${digest} in it is damaged: ${state}`, error);
    }
  }

  #file(digest: Digest): ArchiveFile | undefined {
    return this.#made?.blobs.get(digest) ?? this.#files.find(blobPath(digest));
  }

  #wrongSize(digest: Digest, found: number, expected: number): AppError {
    return damagedArchive(this.path, `${digest} is ${found} bytes in it, and should be ${expected}`);
  }

  /**
   * Docker and ctr save an index with those of its platforms that they have. Throws NOT_FOUND for it, with what there
   * is, and for a manifest that lacks blobs: a registry would take neither.
   */
  #checkParts(parsed: Parsed, digest: Digest): void {
    if (parsed.kind === "manifest") {
      const blobs = successors(parsed);
      const lost = blobs.filter((blob) => !isForeign(blob) && !this.has(blob.digest));
      const [first] = lost;
      if (first === undefined) return;
      throw new AppError(
        "NOT_FOUND",
        `Cannot find ${first.digest} in ${this.path}: ${lost.length} of ${blobs.length} blobs of ${digest} are missing`,
        { hint: "copy the archive again, or save it again", details: { digest: first.digest } },
      );
    }
    if (this.#allowMissing) return;
    const lost = parsed.manifests.filter((child) => !this.has(child.digest));
    if (lost.length === 0) return;
    const held = parsed.manifests.filter((child) => !lost.includes(child));
    throw new AppError(
      "NOT_FOUND",
      `Cannot take all of ${digest} from ${this.path}: it is a sparse archive, which holds ${namesOf(held)} and lacks ${namesOf(lost)}`,
      {
        hint: "save all platforms, or go on with those that are there, under another digest: --allow-missing",
        details: { missing: lost.map((child) => child.digest) },
      },
    );
  }
}

function isForeign(layer: Descriptor): boolean {
  return isForeignLayerType(layer.mediaType) && (layer.urls?.length ?? 0) > 0;
}

/** Platforms of the children of an index, in words. */
function namesOf(children: readonly Descriptor[]): string {
  const names = new Set(
    children.map(({ platform, annotations, digest, mediaType }) => {
      const name = platformName(platform);
      if (name !== undefined) return name;
      const attests = annotations?.["vnd.docker.reference.type"] !== undefined;
      if (attests) return "attestations";
      return isManifestOrIndexType(mediaType) ? digest : `${digest} (${mediaType.slice(0, 80)})`;
    }),
  );
  return names.size === 0 ? "nothing" : [...names].slice(0, 20).join(", ");
}

function madeNote(path: string, images: readonly BundleImage[], { uncompressed }: MadeContent): string {
  const [first] = images;
  const why = uncompressed ? "its layers are not compressed" : "it lists other files";
  const example = first === undefined ? "" : `: ${imageName(first)} is ${first.root.digest}`;
  return `${path} holds no manifests, so each image gets one over its layers as they are${example}; Docker shows another digest, since ${why} as they were in the registry`;
}
