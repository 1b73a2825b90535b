/**
 * Content that goes by once, and that nobody has named yet: a layer in a stream whose names come last. It has to be put
 * away as it comes, and its digest is known when all of it has come.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { ByteStream, CallOptions, OpenOptions } from "./content.ts";

/** One such content. */
export interface PassingContent {
  /** What it is called in messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Its bytes from an offset on, as they come. Throws NOT_FOUND for what has gone by. */
  open(offset: number, signal?: AbortSignal): Promise<ByteStream>;
  /** How far it goes back from what was read, in bytes. */
  readonly replayBytes: number;
  /** Told that it is stored up to an offset (bytes): nothing before it is opened again. */
  onStored(offset: number): void;
  /** Resolves when all of it has been read. Rejects with what is wrong with it: then it must not be stored. */
  digest(): Promise<Digest>;
}

export interface StageOptions extends CallOptions {
  /** Called with the absolute offset (bytes) that has been taken so far; may go back after a retry. */
  readonly onProgress?: ((offset: number) => void) | undefined;
}

/** Where such content is put, to be taken from there to where it belongs. */
export interface Stage {
  /** True only if the content is there, whole. */
  has(descriptor: Descriptor, options?: CallOptions): Promise<boolean>;
  /** Stores content under the digest that it comes to. After any failure nothing is stored. */
  stage(content: PassingContent, options?: StageOptions): Promise<void>;
  /** The bytes of what is there from an offset on, not verified. */
  open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream>;
}
