/**
 * Content that goes by in one order: out of a pipe, or into one. What was not taken when its turn came is gone, and
 * what comes too early has to wait in memory.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";

/** The order of a pipe, for whoever copies. */
export interface Passage {
  /** The place of content in that order; the lower one comes first. */
  position(digest: Digest): number;
  /** Resolves when the transfer of a blob may begin; asked before it takes up a slot. Rejects with the signal's reason. */
  admit(descriptor: Descriptor, signal: AbortSignal): Promise<void>;
  /** The content is where it belongs, or nobody needs it any more: it is not asked for again. */
  release(digest: Digest): void;
}

/** A source whose content goes by: it can go back only so far. */
export interface PassingSource {
  /** Content can be opened again at most so many bytes before what has been read of it. */
  readonly replayBytes: number;
  /** Told that content has arrived up to an offset (bytes): nothing before it is asked for again. */
  settle(digest: Digest, offset: number): void;
}

/** Guard for the optional power {@link PassingSource}. */
export function goesBy(source: object): source is PassingSource {
  return "replayBytes" in source && "settle" in source && typeof source.settle === "function";
}
