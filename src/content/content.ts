/**
 * The contract between the pipeline and whatever holds content (a registry, a bundle, a directory).
 * Interfaces of one to three methods; a further power is another interface with a guard. Everything here speaks
 * in descriptors and re-openable bytes, so one copy algorithm serves every pair of source and target.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";

/**
 * Bytes in order. A chunk is only lent: it is valid until the next but one is asked for (so that a writer may
 * still be busy with one while the next one comes), since those who read from sockets and files use the same
 * buffers again and again. The last chunk stays valid. Who keeps another one longer copies it. Ending the
 * iteration early releases what is behind it (socket, file handle).
 */
export type ByteStream = AsyncIterable<Uint8Array>;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface OpenOptions extends CallOptions {
  /** First byte wanted, in bytes from the start of the content; 0 if left out. */
  readonly offset?: number;
}

export interface ManifestOptions extends CallOptions {
  /** The type that a parent's descriptor gives, for documents that do not say it themselves. */
  readonly mediaType?: string | undefined;
}

/** A manifest or an index as the bytes that came, proved against the digest in `descriptor`. */
export interface RawManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** One repository (or a whole bundle) to read from. */
export interface Source {
  /** The descriptor behind a tag or a digest, at the lowest price there is (a HEAD); NOT_FOUND if there is none. */
  resolve(reference: string, options?: CallOptions): Promise<Descriptor>;
  /** The manifest or index behind a tag or a digest, verified; NOT_FOUND if there is none. */
  manifest(reference: string, options?: ManifestOptions): Promise<RawManifest>;
  /**
   * The bytes of a blob from an offset on. They are not yet verified: pass them through `verified` or `readAll`
   * (verify.ts), which is where every reader gets them from.
   */
  open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream>;
}

/** Content that can be opened again at any offset: what makes retry and resume possible from any source. */
export interface BlobSource {
  readonly descriptor: Descriptor;
  /** True for what registries keep under `/manifests/`. */
  readonly isManifest: boolean;
  /**
   * True if the first bytes may take minutes to come. No request is begun before they are there, since proxies close
   * one whose body does not come (nginx client_body_timeout).
   */
  readonly waits?: boolean;
  /** Opens the bytes at an offset (bytes). The content as a whole is verified by whoever stores it. */
  open(offset: number, signal?: AbortSignal): Promise<ByteStream>;
  /** Left out for content that can be opened at any offset; otherwise how far it goes back from what was read. Bytes. */
  readonly replayBytes?: number;
  /** Told that the content is stored up to an offset (bytes), so that nothing before it need be opened again. */
  readonly onStored?: (offset: number) => void;
}

export interface PushOptions extends CallOptions {
  /** Sends the content although it seems to be there: for a registry whose word has turned out to be wrong. */
  readonly force?: boolean;
  /** Called once it is clear that bytes have to be sent. */
  readonly onStart?: () => void;
  /** Called before the rest is fetched, if so many bytes of it were there already from an earlier run. */
  readonly onKept?: (bytes: number) => void;
  /** Called with the absolute offset (bytes) that has been taken so far; may go back after a retry. */
  readonly onProgress?: (offset: number) => void;
}

/**
 * What became of a push: the content was sent; or it was there already and nothing was; or it was brought to its
 * place from what an earlier run has left, and nothing was fetched (`onStart` was called then).
 */
export type Pushed = "stored" | "present" | "kept";

/** One repository (or a whole bundle) to write to. Every method may be called again after a failure. */
export interface Target {
  /** True only if the content is there, whole. */
  has(descriptor: Descriptor, options?: CallOptions): Promise<boolean>;
  /**
   * Stores the content and verifies its digest while it does so. After any failure, one at the very end
   * included, nothing is stored under the digest. Content that is there already is not sent again.
   */
  push(blob: BlobSource, options?: PushOptions): Promise<Pushed>;
  /** Stores a manifest (all that it leads to is there) and lets `tag` point at it. */
  tag(manifest: BlobSource, tag: string, options?: CallOptions): Promise<void>;
}

/** A target that can take over a blob from another repository of the same registry without moving bytes. */
export interface Mounter {
  /** True if the blob is there now; false if the registry would not, and it has to be pushed. */
  mount(descriptor: Descriptor, fromRepository: string, options?: CallOptions): Promise<boolean>;
}

/** Guard for the optional power {@link Mounter}. */
export function canMount(target: Target): target is Target & Mounter {
  return "mount" in target && typeof target.mount === "function";
}

/** Guard for a target whose content can be read back. */
export function canRead(target: Target): target is Target & Pick<Source, "open"> {
  return "open" in target && typeof target.open === "function";
}

/** A source whose content is to be had at several places. */
export interface SeveralPlaces {
  /** Told that a blob was wrong as it came last. True if it comes from another place the next time. */
  distrust(descriptor: Descriptor): boolean;
}

/** Guard for the optional power {@link SeveralPlaces}. */
export function hasSeveralPlaces(source: object): source is SeveralPlaces {
  return "distrust" in source && typeof source.distrust === "function";
}

/** Where content lies in a source that is cheap to read in one order only (a compressed archive): smaller comes first. */
export type ReadingOrder = (digest: Digest) => number;

/** The order in which a source is to be read; undefined for one that does not mind. */
export function orderOf(source: object): ReadingOrder | undefined {
  return "order" in source && typeof source.order === "function" ? (source.order as ReadingOrder) : undefined;
}

/** A source some of whose content has been read already, and proved then. */
export interface Proved {
  /** True for content that need not be read again to know that it is right. */
  isProved(descriptor: Descriptor): boolean;
}

/** Guard for the optional power {@link Proved}. */
export function canTell(source: object): source is Proved {
  return "isProved" in source && typeof source.isProved === "function";
}
