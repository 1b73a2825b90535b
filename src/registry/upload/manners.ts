/** How one registry likes its uploads: known beforehand for some hosts, learned once and remembered for the rest. */
import { hostName } from "../host.ts";

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
/** Blobs up to this size go in one request wherever a registry takes that. Bytes. */
const wholeUpTo = 64 * MiB;
const defaultChunkBytes = 64 * MiB;
/**
 * What is tried next, in bytes, when a request was too large: Cloudflare takes 100 MB, other proxies 16 MiB or little,
 * GHCR 4 MiB a chunk, nginx as it is installed 1 MiB.
 */
const smallerChunks = [90_000_000, 16 * MiB, 4 * MiB - 64 * 1024, 1_000_000, 250_000, 60_000];
/** What is tried next, in bytes, when a chunk was too small: ECR wants 5 MiB. */
const largerChunks = [5 * MiB, 16 * MiB, 64 * MiB, 256 * MiB, GiB];
/** Under this size chunks cost so much time that the user is told how to avoid that. Bytes. */
const slowChunkBytes = 2 * MiB;
/** No minimum that a registry asks for counts beyond this (regclient's cap). Bytes. */
const maxFloorBytes = GiB;
/** A host that has answered the question for the state of an upload so often with "unknown" is not asked again. */
const maxStatusMisses = 2;

interface KnownHost {
  readonly host: RegExp;
  /** Chunks are at least this large. Bytes. */
  readonly floor?: number;
  /** Chunks are at most this large. Bytes. */
  readonly ceiling?: number;
  /** Chunks are refused in any size. */
  readonly unchunked?: boolean;
}

/**
 * Hosts that take any blob whole, and chunks only as they like (protocol notes 6.7). That is where chunks are needed
 * after all, because a proxy stands in between.
 */
const knownHosts: readonly KnownHost[] = [
  // ocx-sh/ocx#237: 416 "request body is too large" for a PATCH over 4 MiB.
  { host: /(?:^|\.)ghcr\.io$/, ceiling: 4 * MiB - 64 * 1024 },
  // LayerPartTooSmall (openai/tart#273), and parts of up to 20 MiB.
  { host: /(?:^|\.)(?:amazonaws\.com|ecr\.aws)$/, floor: 5 * MiB, ceiling: 16 * MiB },
  // dotnet/sdk-container-builds#287.
  { host: /(?:^|\.)(?:pkg\.dev|gcr\.io)$/, unchunked: true },
  // goharbor/harbor#23015: large ones are refused at times; the SDK sends 4 MiB.
  { host: /(?:^|\.)azurecr\.io$/, ceiling: 4 * MiB },
  { host: /(?:^|\.)docker\.io$/ },
];

/** The shape of uploads to one host. Bodies have `bytes`; what is learned by one blob counts for all of them. */
export class UploadManners {
  readonly #known: KnownHost | undefined;
  /** Only whole blobs: what a known host likes, or chunks were refused. */
  #whole: boolean;
  #chunkBytes: number;
  /** Whole blobs over #chunkBytes are too large, or not wanted. */
  #limited: boolean;
  #floor: number;
  /** The smallest request that was too large. */
  #refusedBytes = Number.POSITIVE_INFINITY;
  /** Chunks were refused. */
  #refused = false;
  #patchesWhole = false;
  #fresh = false;
  #findsByMount: boolean;
  #statusMisses = 0;
  readonly #told = new Set<string>();

  /** `chunkBytes`: what the user wants; undefined for what the host takes. */
  constructor(registry: string, chunkBytes: number | undefined) {
    this.#known = knownHosts.find(({ host }) => host.test(hostName(registry)));
    this.#whole = chunkBytes === undefined && this.#known !== undefined;
    this.#chunkBytes = chunkBytes ?? defaultChunkBytes;
    this.#limited = chunkBytes !== undefined;
    this.#floor = this.#known?.floor ?? 0;
    this.#findsByMount = this.#known === undefined;
  }

  /**
   * Whether a blob may be looked for by mounting it from its own repository, which finds it or opens the session
   * that is needed otherwise: one request where HEAD and POST are two. Hosted registries have rules of their own
   * for mounts, so they are asked by HEAD.
   */
  get findsByMount(): boolean {
    return this.#findsByMount;
  }

  /** True once an answer to such a mount has been compared with a HEAD. */
  mountProved = false;

  /** Such a mount was refused, or its answer was not true. */
  mountRefused(): void {
    this.#findsByMount = false;
  }

  /**
   * The size of the chunks for a blob of `size` bytes; undefined: in one request. `most`: content that goes by can be
   * sent again so many bytes at a time, so wherever chunks are taken they are no larger than that.
   */
  chunkFor(size: number, most?: number): number | undefined {
    const unchunked = this.#refused || this.#known?.unchunked === true;
    if (most !== undefined && !unchunked) {
      const wanted = this.#limited ? this.#chunkBytes : (this.#known?.ceiling ?? most);
      const chunk = Math.max(Math.min(most, wanted), this.#floor);
      return size <= chunk ? undefined : chunk;
    }
    if (this.#whole) return undefined;
    const chunk = Math.max(this.#chunkBytes, this.#floor);
    return size <= (this.#limited ? chunk : Math.max(chunk, wholeUpTo)) ? undefined : chunk;
  }

  /** True if what goes in one request goes in a PATCH, because the closing PUT takes no content. */
  get patchesWhole(): boolean {
    return this.#patchesWhole;
  }

  /** A request of `bytes` was too large. Returns false when nothing smaller is left to try. */
  tooLarge(bytes: number): boolean {
    this.#refusedBytes = Math.min(this.#refusedBytes, bytes);
    const ceiling = this.#known?.ceiling ?? Number.POSITIVE_INFINITY;
    const smaller = smallerChunks.find((size) => size < bytes && size <= ceiling);
    const next = Math.max(smaller ?? 0, this.#floor);
    if (this.#known?.unchunked === true || next === 0 || next >= bytes) return false;
    this.#whole = false;
    // What others have learned meanwhile may be less already.
    this.#chunkBytes = this.#limited ? Math.min(this.#chunkBytes, next) : next;
    this.#limited = true;
    return true;
  }

  /** True if every request of an upload gets a connection of its own. */
  get freshConnections(): boolean {
    return this.#fresh;
  }

  /**
   * The line breaks at all sorts of places, and the registry does not say how far an upload has got: what is left is
   * chunks that get through before the line breaks, each over a connection of its own. `bytes`: what got through.
   * Returns false if that is how it is done already.
   */
  brittle(bytes: number): boolean {
    const before = `${this.#fresh} ${this.#whole} ${this.#chunkBytes}`;
    this.#fresh = true;
    this.tooLarge(bytes);
    return before !== `${this.#fresh} ${this.#whole} ${this.#chunkBytes}`;
  }

  /** A chunk of `bytes` was too small. Returns false if larger ones are too large. */
  tooSmall(bytes: number): boolean {
    const next = largerChunks.find((size) => size > bytes);
    if (next === undefined || next >= this.#refusedBytes) return false;
    this.#floor = Math.max(this.#floor, next);
    return true;
  }

  /** The registry asks for chunks of at least so many bytes (the header `OCI-Chunk-Min-Length`). */
  atLeast(bytes: number): void {
    this.#floor = Math.max(this.#floor, Math.min(bytes, maxFloorBytes));
  }

  /** Chunks were refused. Returns false if they are needed: whole requests are too large, or not wanted. */
  chunksRefused(): boolean {
    if (this.#limited) return false;
    this.#whole = true;
    this.#refused = true;
    return true;
  }

  /** A closing PUT with content was refused. Returns false if that has been learned before. */
  contentInPutRefused(): boolean {
    if (this.#patchesWhole) return false;
    this.#patchesWhole = true;
    return true;
  }

  /** Whether it is of use to ask how far an upload has got. */
  get tellsStatus(): boolean {
    return this.#statusMisses < maxStatusMisses;
  }

  /** The host has answered that question, or not. */
  statusTold(told: boolean): void {
    this.#statusMisses = told ? Number.NEGATIVE_INFINITY : this.#statusMisses + 1;
  }

  /** True if large blobs go in chunks so small that it costs time. */
  get slow(): boolean {
    return !this.#whole && this.#limited && Math.max(this.#chunkBytes, this.#floor) < slowChunkBytes;
  }

  /** True the first time it is asked with this key: what is said once for a host. */
  once(key: string): boolean {
    if (this.#told.has(key)) return false;
    this.#told.add(key);
    return true;
  }
}
