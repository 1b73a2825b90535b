/** What is said of the content of an unfinished bundle, and how its moves inside the file are noted. Types only. */
import type { Digest } from "../oci/digest.ts";

/** Bytes [at, at + got) of the part are said to be the first `got` bytes of `digest`. Bytes. */
export interface Claim {
  readonly digest: Digest;
  readonly at: number;
  readonly got: number;
}

/**
 * How far a move has come. Its pieces go one by one, and each can be done again until the next step is noted: from
 * the spill file if the piece overlaps with its own place, otherwise from where it lies. Bytes.
 */
export interface MoveStep {
  readonly digest: Digest;
  readonly from: number;
  readonly to: number;
  readonly length: number;
  /** What was moved before this piece: from the front in moves to the left, from the end in moves to the right. */
  readonly moved: number;
  readonly piece: number;
  /** The sha256 digest of the piece as it was saved in the spill file; empty if it lies where it lay until the next step. */
  readonly hash: string;
}

/** Where moves are noted, in the order of the calls. What has resolved is there after a crash of the program. */
export interface MoveLog {
  /** A claim holds at its new place. It replaces the older one of its digest, and any step of its move. */
  moved(claim: Claim): Promise<void>;
  /** A piece of a move is about to be written. */
  step(step: MoveStep): Promise<void>;
}

/** A length of some content at which its hash was noted, to tell how far what is on the disk is what came. */
export interface Mark {
  readonly got: number;
  /** Hexadecimal, in the algorithm of the content's digest. */
  readonly hash: string;
}
