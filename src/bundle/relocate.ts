/**
 * Moves what an unfinished bundle has to the places of another layout, inside the file. With another plan (a tag has
 * moved, an image is new or gone) most of the content is the same, and lies a little further to the left or right.
 *
 * Why nothing is overwritten before it has moved. Claims do not overlap, and neither do places; a place is as large
 * as its blob, and a claim no larger than that. Content that is at its place already is in nobody's way. Of the rest
 * we take those that come in the same order before and after, and move them in two rounds:
 *
 * 1. What goes to the left, ascending. When j moves, its new end is before its old end, so everything that lay behind
 *    it is safe. What lay before it has moved already if it went to the left; if i goes to the right, it ends where
 *    it lies before its place ends (old_i < new_i, got_i <= size_i), and the place of j begins behind that.
 * 2. What goes to the right, descending. When j moves, its place begins behind the places of all i before it, and
 *    so behind where those lie. What lay behind it has moved already.
 *
 * What is in another order is put behind the end of everything first, and fetched from there at last. It is little:
 * layers are sorted by digest in every bundle. If the disk has no room for that, the claim is given up.
 */
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Digest } from "../oci/digest.ts";
import type { Claim } from "./claims.ts";
import { diskError } from "./disk.ts";
import type { Layout } from "./layout.ts";
import { type MoveOptions, Mover } from "./move.ts";
import { freeBytes } from "./part-place.ts";
import type { PositionalFile } from "./positional-file.ts";

/** Left for the piece that is saved, and for the journal. Bytes. */
const reservedBytes = 16 * 1024 * 1024;

interface Relocation {
  readonly claim: Claim;
  /** Its place in the new layout, in bytes. */
  readonly to: number;
}

/**
 * Moves the content of claims to its place in a layout, and gives the claims that hold there. Given up are claims of
 * digests that the layout lacks, of more bytes than the blob has, of none, beyond the end of the file, and those that
 * overlap with one that comes later in the map, whose order is that of the notes. An unfinished move has to be
 * finished before (`finishMove`). The file is grown if need be and never truncated; headers and metadata are not
 * written. It may be called again after whatever has ended it. Throws DISK, INTEGRITY (somebody else truncates the
 * file), or the signal's reason.
 */
export async function relocate(
  file: PositionalFile,
  claims: ReadonlyMap<Digest, Claim>,
  layout: Layout,
  options: MoveOptions,
): Promise<ReadonlyMap<Digest, Claim>> {
  const size = await sizeOf(file);
  const inside = [...claims.values()].filter(({ at, got }) => got > 0 && at <= size - got);
  const wanted = withoutOverlaps(inside).flatMap((claim) => {
    const entry = layout.blobs.get(claim.digest);
    return entry === undefined || claim.got > entry.size ? [] : [{ claim, to: entry.contentOffset }];
  });
  const found = new Map<Digest, Claim>();
  const note = (claim: Claim): unknown => found.set(claim.digest, claim);
  for (const { claim, to } of wanted) if (claim.at === to) note(claim);

  const end = wanted.reduce((max, { claim }) => Math.max(max, claim.at + claim.got), layout.totalBytes);
  const moves = wanted.filter(({ claim, to }) => claim.at !== to);
  // What lies behind the end of the new layout is in nobody's way, and can go last.
  const last = moves.filter(({ claim }) => claim.at >= layout.totalBytes);
  const others = moves
    .filter(({ claim }) => claim.at < layout.totalBytes)
    .toSorted((a, b) => a.claim.at - b.claim.at);
  const chain = heaviestChain(others);
  const inChain = new Set(chain);
  const outOfOrder = fitting(
    others.filter((move) => !inChain.has(move)),
    await spareBytes(file, layout, options),
  );
  await grow(file, end + bytesOf(outOfOrder), options.name);
  {
    await using mover = new Mover(file, options);
    let free = end;
    for (const { claim, to } of outOfOrder) {
      last.push({ claim: await mover.move(claim, free), to });
      free += claim.got;
    }
    for (const { claim, to } of chain) if (to < claim.at) note(await mover.move(claim, to));
    for (const { claim, to } of chain.toReversed()) if (to > claim.at) note(await mover.move(claim, to));
    for (const { claim, to } of last) note(await mover.move(claim, to));
  }
  await rm(options.spillPath, { force: true });
  return found;
}

/** Claims of which no two overlap, in their order; of two that do, the later one is newer and stays. */
function withoutOverlaps(claims: readonly Claim[]): readonly Claim[] {
  const byPlace = claims.toSorted((a, b) => a.at - b.at);
  if (byPlace.every((claim, index) => !overlap(byPlace[index - 1], claim))) return claims;
  // Somebody else wrote this journal, or a move was cut off over what was not wanted any more.
  const kept: Claim[] = [];
  const stays = new Set<Claim>();
  for (const claim of claims.toReversed()) {
    const index = firstFrom(kept, claim.at);
    if (overlap(kept[index - 1], claim) || overlap(claim, kept[index])) continue;
    kept.splice(index, 0, claim);
    stays.add(claim);
  }
  return claims.filter((claim) => stays.has(claim));
}

/** True if the first of two claims, in the order of the file, reaches into the second. */
function overlap(first: Claim | undefined, second: Claim | undefined): boolean {
  return first !== undefined && second !== undefined && first.at + first.got > second.at;
}

/** The index of the first claim that begins at a place or behind it, among claims in the order of the file. */
function firstFrom(claims: readonly Claim[], place: number): number {
  let [low, high] = [0, claims.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((claims[middle]?.at ?? 0) < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Chain {
  readonly move: Relocation;
  readonly bytes: number;
  readonly before: Chain | undefined;
}

/**
 * Of moves in the order of the file, those that come in the same order in the new layout and hold the most bytes
 * together.
 */
function heaviestChain(moves: readonly Relocation[]): readonly Relocation[] {
  const ranks = new Map(moves.toSorted((a, b) => a.to - b.to).map((move, index) => [move, index + 1]));
  // A Fenwick tree: the heaviest chain that ends with a rank up to this one.
  const best: (Chain | undefined)[] = [];
  const heaviestUpTo = (rank: number): Chain | undefined => {
    let found: Chain | undefined;
    for (let at = rank; at > 0; at -= at & -at) found = heavier(found, best[at]);
    return found;
  };
  for (const [move, rank] of moves.map((move) => [move, ranks.get(move) ?? 0] as const)) {
    const before = heaviestUpTo(rank - 1);
    const chain = { move, bytes: (before?.bytes ?? 0) + move.claim.got, before };
    for (let at = rank; at <= moves.length; at += at & -at) best[at] = heavier(best[at], chain);
  }
  const chain: Relocation[] = [];
  for (let at = heaviestUpTo(moves.length); at !== undefined; at = at.before) chain.push(at.move);
  return chain.toReversed();
}

function heavier(a: Chain | undefined, b: Chain | undefined): Chain | undefined {
  return (b?.bytes ?? 0) > (a?.bytes ?? 0) ? b : a;
}

/** As many moves as go into so many bytes, the smallest first. */
function fitting(moves: readonly Relocation[], bytes: number): readonly Relocation[] {
  let left = bytes;
  return moves
    .toSorted((a, b) => a.claim.got - b.claim.got)
    .filter(({ claim }) => {
      left -= claim.got;
      return left >= 0;
    });
}

function bytesOf(moves: readonly Relocation[]): number {
  return moves.reduce((sum, { claim }) => sum + claim.got, 0);
}

/** What the disk has left when the whole bundle is on it. Bytes, negative if it is too small. */
async function spareBytes(
  file: PositionalFile,
  layout: Layout,
  { spillPath, name }: MoveOptions,
): Promise<number> {
  try {
    const free = await freeBytes(dirname(spillPath));
    const found = await file.stat({ bigint: true });
    const [size, blocks] = [Number(found.size), Number(found.blocks)];
    // The file is sparse: what is not there yet will be taken from what is free.
    return free - Math.max(0, Math.max(size, layout.totalBytes) - blocks * 512) - reservedBytes;
  } catch (error) {
    throw diskError(`write ${name}`, error);
  }
}

async function grow(file: PositionalFile, bytes: number, name: string): Promise<void> {
  try {
    if ((await sizeOf(file)) < bytes) await file.truncate(bytes);
  } catch (error) {
    throw diskError(`write ${name}`, error);
  }
}

async function sizeOf(file: PositionalFile): Promise<number> {
  return Number((await file.stat({ bigint: true })).size);
}
