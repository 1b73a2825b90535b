/**
 * Reads a bundle in place: `mirror.json` and the layout rule give every offset, so nothing is unpacked or searched.
 * Each header is compared with the one that the layout rule makes, so a damaged one is found with the blob's name.
 */
import { type FileHandle, open, stat } from "node:fs/promises";
import type {
  ByteStream,
  ManifestOptions,
  OpenOptions,
  RawManifest,
  SeveralPlaces,
  Source,
} from "../content/content.ts";
import { readAll, verified } from "../content/verify.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { diskError, readExactly } from "./disk.ts";
import { type FileIdentity, identify, refuseChanged } from "./file-identity.ts";
import { readFileRange } from "./file-range.ts";
import type { BlobEntry, BundleContents, Layout, MetadataFile } from "./layout.ts";
import { type BundleImage, imageName, mirrorFilePath } from "./metadata.ts";
import { proveMetadata } from "./prove-metadata.ts";
import { blockBytes, paddingOf, readHeader } from "./tar-header.ts";

/** No metadata file larger than this is read, in bytes: a table of contents of three million blobs. */
const maxMetadataBytes = 256 * 1024 * 1024;
/** Up to this size, header and content are read at once. Bytes. */
const smallBlobBytes = 256 * 1024;
const metadataPaths: ReadonlySet<string> = new Set([
  "oci-layout",
  "index.json",
  "manifest.json",
  mirrorFilePath,
]);

/** An open bundle. Close it when done. */
export class BundleReader implements Source, SeveralPlaces, AsyncDisposable {
  readonly path: string;
  readonly images: readonly BundleImage[];
  readonly contents: BundleContents;
  readonly totalBytes: number;
  readonly #file: FileHandle;
  readonly #layout: Layout;
  readonly #identity: FileIdentity;
  /** Content that was wrong when it was read last. */
  readonly #doubted = new Set<Digest>();

  private constructor(
    path: string,
    { file, identity }: { file: FileHandle; identity: FileIdentity },
    description: { images: readonly BundleImage[]; contents: BundleContents },
    layout: Layout,
  ) {
    this.path = path;
    this.images = description.images;
    this.contents = description.contents;
    this.totalBytes = layout.totalBytes;
    this.#file = file;
    this.#identity = identity;
    this.#layout = layout;
  }

  /**
   * Opens a bundle and proves its metadata. Throws NOT_FOUND or DISK if the file cannot be opened, BUNDLE if it
   * is none, INTEGRITY if it is damaged or truncated.
   */
  static async open(path: string): Promise<BundleReader> {
    const unreadable = (error: unknown): never => {
      throw diskError(`read ${path}`, error);
    };
    // A pipe is not even opened: that would wait for its other end.
    if (!(await stat(path).catch(unreadable)).isFile()) {
      throw new AppError("BUNDLE", `Cannot read ${path}: it is not a file`, {
        hint: "name the bundle that mirror pull wrote",
      });
    }
    const file = await open(path, "r").catch(unreadable);
    try {
      const found = await identify(file, path);
      const metadata = await readMetadata(file, path);
      const { description, layout } = await proveMetadata(metadata, (state) => damaged(path, state));
      for (const entry of layout.metadata) await checkHeader(file, path, entry, entry.path);
      if (found.size !== layout.totalBytes) {
        const state = found.size < layout.totalBytes ? "truncated" : "longer than it should be";
        throw damaged(path, `it is ${state}: ${found.size} bytes, expected ${layout.totalBytes}`);
      }
      return new BundleReader(path, { file, identity: found }, description, layout);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The images by the name they were asked for, or by digest. */
  async resolve(reference: string): Promise<Descriptor> {
    const image = this.images.find(
      (candidate) => candidate.root.digest === reference || imageName(candidate) === reference,
    );
    if (image !== undefined) return image.root;
    throw new AppError("NOT_FOUND", `Cannot find ${reference} in ${this.path}`, {
      hint: `mirror ls ${this.path} shows what is in it`,
    });
  }

  async manifest(reference: string, options: ManifestOptions = {}): Promise<RawManifest> {
    const digest = isDigest(reference) ? reference : (await this.resolve(reference)).digest;
    const entry = this.#entry(digest);
    const descriptor = { mediaType: "", digest, size: entry.size };
    const content = await this.open(descriptor, options);
    const bytes = await readAll(content, descriptor, maxManifestBytes).catch(async (error: unknown) => {
      throw await this.#judged(error, digest);
    });
    const rooted = this.images.find((image) => image.root.digest === digest)?.root.mediaType;
    const { mediaType } = parseManifest(bytes, options.mediaType ?? rooted ?? "", digest);
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

  /** True if the bundle has this content (which is not yet to say that it is undamaged). */
  has(digest: Digest): boolean {
    return this.#layout.blobs.has(digest);
  }

  /** Every blob and manifest with its size, in the order of the file. */
  blobs(): Iterable<BlobEntry> {
    return this.#layout.blobs.values();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  #entry(digest: Digest): BlobEntry {
    const entry = this.#layout.blobs.get(digest);
    if (entry === undefined) throw damaged(this.path, `${digest} is missing`);
    return entry;
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

  /** The error for content that is wrong, by the name of the file. */
  async #judged(error: unknown, digest: Digest): Promise<unknown> {
    // What the reader itself has found names the file, and no digest alone.
    if (!isAppError(error, "INTEGRITY") || error.details?.["digest"] !== digest) return error;
    await this.refuseChanged();
    const state = error.message.slice(`Cannot verify ${digest}: `.length);
    return damaged(this.path, `${digest} is damaged: ${state}`, error);
  }
}

interface HeaderPlace {
  readonly header: Buffer;
  readonly headerOffset: number;
}

async function checkHeader(file: FileHandle, path: string, place: HeaderPlace, name: string): Promise<void> {
  compareHeader(
    await readExactly(file, place.headerOffset, place.header.byteLength, path),
    path,
    place,
    name,
  );
}

function compareHeader(found: Uint8Array, path: string, place: HeaderPlace, name: string): void {
  if (!place.header.equals(found)) throw damaged(path, `the tar header of ${name} is not as it was written`);
}

/** The files in front of the blobs, up to and including mirror.json. */
async function readMetadata(file: FileHandle, path: string): Promise<MetadataFile[]> {
  const files: MetadataFile[] = [];
  let offset = 0;
  while (files.at(-1)?.path !== mirrorFilePath) {
    const header = await firstHeader(file, offset, path, files.length > 0);
    if (header === undefined || !metadataPaths.has(header.name) || files.length === metadataPaths.size)
      throw notABundle(path);
    if (header.size > maxMetadataBytes)
      throw damaged(path, `its ${header.name} claims to be ${header.size} bytes long`);
    const bytes = await readExactly(file, offset + blockBytes, header.size, path);
    files.push({ path: header.name, bytes });
    offset += blockBytes + header.size + paddingOf(header.size);
  }
  return files;
}

async function firstHeader(
  file: FileHandle,
  offset: number,
  path: string,
  ours: boolean,
): Promise<{ name: string; size: number } | undefined> {
  const block = Buffer.alloc(blockBytes);
  const { bytesRead } = await file.read(block, 0, blockBytes, offset).catch((error: unknown) => {
    throw diskError(`read ${path}`, error);
  });
  if (bytesRead < blockBytes) {
    if (ours) throw damaged(path, "it is truncated");
    throw notABundle(path);
  }
  try {
    return readHeader(block);
  } catch (error) {
    // One damaged bit leaves the name or the magic of our own first file standing.
    const known =
      ours ||
      block.toString("latin1", 0, 10) === "oci-layout" ||
      block.toString("latin1", 257, 262) === "ustar";
    throw known
      ? damaged(path, "the tar header at its beginning is not as it was written")
      : notABundle(path, error);
  }
}

function damaged(path: string, state: string, cause?: unknown): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${path}: ${state}`, {
    hint: "copy the bundle again, or pull it again",
    cause,
  });
}

function notABundle(path: string, cause?: unknown): AppError {
  return new AppError("BUNDLE", `Cannot read ${path}: it is not a bundle that mirror pull wrote`, {
    hint: "a bundle is a plain tar, not compressed, with a mirror.json in it",
    cause,
  });
}
