/** How one registry likes its uploads: known beforehand for some hosts, learned once and remembered for the rest. */
import { hostName } from "../host.ts";

const MiB = 1024 * 1024;
/** Blobs up to this size go in one request wherever a registry takes that. Bytes. */
const wholeUpTo = 64 * MiB;
const defaultChunkBytes = 64 * MiB;
/** What is tried next, in bytes, when a request was too large: proxies allow 100 MB, 16 MiB or little. */
const smallerChunks = [90 * 1000 * 1000, 16 * MiB, 4 * MiB - 64 * 1024, 1000 * 1000];
/**
 * Hosts that refuse or mistreat chunks and take any blob whole: GHCR (416 over 4 MiB), Google (no chunks), ECR
 * (5 MiB minimum, stuck Range), ACR and Docker Hub (whole is what their clients send).
 */
const wholeOnly = /(?:^|\.)(?:ghcr\.io|pkg\.dev|gcr\.io|amazonaws\.com|ecr\.aws|azurecr\.io|docker\.io)$/;

/** The shape of uploads to one host. */
export class UploadManners {
  #whole: boolean;
  #chunkBytes: number;
  #limited = false;
  #findsByMount: boolean;

  constructor(registry: string, chunkBytes: number | undefined) {
    this.#whole = chunkBytes === undefined && wholeOnly.test(hostName(registry));
    this.#chunkBytes = chunkBytes ?? defaultChunkBytes;
    this.#limited = chunkBytes !== undefined;
    this.#findsByMount = !wholeOnly.test(hostName(registry));
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

  /** The size of the chunks for a blob of `size` bytes; undefined: in one request. */
  chunkFor(size: number): number | undefined {
    if (this.#whole) return undefined;
    if (size <= (this.#limited ? this.#chunkBytes : wholeUpTo)) return undefined;
    return this.#chunkBytes;
  }

  /** A request of `bytes` was too large. Returns false when nothing smaller is left to try. */
  tooLarge(bytes: number): boolean {
    const next = smallerChunks.find((size) => size < bytes);
    if (next === undefined) return false;
    this.#whole = false;
    this.#limited = true;
    this.#chunkBytes = Math.min(this.#chunkBytes, next);
    return true;
  }

  /** Chunks were refused. Returns false if they are needed: whole requests are too large, or not wanted. */
  chunksRefused(): boolean {
    if (this.#limited) return false;
    this.#whole = true;
    return true;
  }
}
