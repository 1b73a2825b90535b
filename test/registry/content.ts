/** What a test registry holds. As in distribution, bytes are kept once and every repository links to them. */
import { createHash } from "node:crypto";
import { type Digest, digestOf, isDigest } from "../../src/oci/digest.ts";

export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** A blob in the pieces in which it came, so that large ones are never copied. */
export interface StoredBlob {
  /** The sha256 digest, also where the blob was stored under another one. */
  readonly digest: Digest;
  readonly size: number;
  readonly chunks: readonly Uint8Array[];
}

interface Repository {
  readonly blobs: Set<string>;
  readonly manifests: Map<string, StoredManifest>;
  /** Undefined until the first tag: distribution does not know a repository by its blobs. */
  tags: Map<string, Digest> | undefined;
}

export class RegistryContent {
  readonly #blobs = new Map<string, StoredBlob>();
  readonly #repositories = new Map<string, Repository>();

  /** Names of the repositories that were ever written to, sorted. */
  repositories(): readonly string[] {
    return [...this.#repositories.keys()].sort();
  }

  /** Stores a blob and gives its sha256 digest. */
  putBlob(repository: string, bytes: Uint8Array): Digest {
    return this.storeBlob(repository, [bytes], digestOf(bytes));
  }

  /** Stores a blob whose sha256 digest is known; `alias` is a further digest that finds it. */
  storeBlob(
    repository: string,
    chunks: readonly Uint8Array[],
    digest: Digest,
    alias: Digest = digest,
  ): Digest {
    const size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
    const blob = this.#blobs.get(digest) ?? { digest, size, chunks };
    const { blobs } = this.#repository(repository);
    for (const name of [digest, alias]) {
      this.#blobs.set(name, blob);
      blobs.add(name);
    }
    return digest;
  }

  /** The blob if this repository links to it. */
  findBlob(repository: string, digest: string): StoredBlob | undefined {
    return this.#repositories.get(repository)?.blobs.has(digest) ? this.#blobs.get(digest) : undefined;
  }

  /** Lets `repository` link to a blob of `from`; false if that one does not have it. */
  mountBlob(repository: string, digest: string, from: string): boolean {
    if (this.findBlob(from, digest) === undefined) return false;
    this.#repository(repository).blobs.add(digest);
    return true;
  }

  /** False if it was not there. */
  deleteBlob(repository: string, digest: string): boolean {
    return this.#repositories.get(repository)?.blobs.delete(digest) ?? false;
  }

  /**
   * Stores a manifest, whatever it leads to, and lets `tag` point at it if there is one; `alias` is a further digest
   * that finds it.
   */
  putManifest(
    repository: string,
    tag: string | undefined,
    bytes: Uint8Array,
    mediaType: string,
    alias?: Digest,
  ): Digest {
    const digest = digestOf(bytes);
    const found = this.#repository(repository);
    const stored = { digest, mediaType, bytes: Buffer.from(bytes) };
    for (const name of [digest, ...(alias === undefined ? [] : [alias])]) found.manifests.set(name, stored);
    if (tag !== undefined) {
      found.tags ??= new Map();
      found.tags.set(tag, digest);
    }
    return digest;
  }

  /** All manifests of a repository, in the order in which they came. */
  manifestsOf(repository: string): readonly StoredManifest[] {
    return [...new Set(this.#repositories.get(repository)?.manifests.values())];
  }

  /** The manifest behind a tag or a digest. */
  findManifest(repository: string, reference: string): StoredManifest | undefined {
    const found = this.#repositories.get(repository);
    return found?.manifests.get(isDigest(reference) ? reference : (found.tags?.get(reference) ?? ""));
  }

  /** Removes a manifest and its tags; false if it was not there. */
  deleteManifest(repository: string, digest: string): boolean {
    const found = this.#repositories.get(repository);
    for (const [tag, target] of found?.tags ?? []) {
      if (target === digest) found?.tags?.delete(tag);
    }
    return found?.manifests.delete(digest) ?? false;
  }

  /** False if it was not there. */
  deleteTag(repository: string, tag: string): boolean {
    return this.#repositories.get(repository)?.tags?.delete(tag) ?? false;
  }

  /** Tags in the order in which they came; undefined if the repository never had one. */
  findTags(repository: string): readonly string[] | undefined {
    const tags = this.#repositories.get(repository)?.tags;
    return tags === undefined ? undefined : [...tags.keys()];
  }

  #repository(name: string): Repository {
    const found = this.#repositories.get(name) ?? { blobs: new Set(), manifests: new Map(), tags: undefined };
    this.#repositories.set(name, found);
    return found;
  }
}

/** The bytes of a blob from `start` to `end` (exclusive), without copying them. */
export function sliceBlob(blob: StoredBlob, start = 0, end = blob.size): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const chunk of blob.chunks) {
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, chunk.byteLength);
    if (from < to) pieces.push(chunk.subarray(from, to));
    at += chunk.byteLength;
    if (at >= end) break;
  }
  return pieces;
}

/** The digest of bytes in pieces. */
export function digestOfChunks(chunks: readonly Uint8Array[], algorithm: "sha256" | "sha512"): Digest {
  const hash = createHash(algorithm);
  for (const chunk of chunks) hash.update(chunk);
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}
