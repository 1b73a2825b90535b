/**
 * Opens the `.part` of a bundle: takes up what an earlier run left there, in whatever layout, and lays the file out
 * for this one. All of it can be interrupted at any moment, and is done again by the next run.
 */
import { rm } from "node:fs/promises";
import { basename } from "node:path";
import { reached } from "../content/points.ts";
import type { Digest } from "../oci/digest.ts";
import type { Claim, Mark, MoveLog } from "./claims.ts";
import { asDiskError, diskError, writeAll } from "./disk.ts";
import { Journal } from "./journal.ts";
import { type Journalled, readJournal } from "./journal-lines.ts";
import type { Layout } from "./layout.ts";
import { BundleLock } from "./lock.ts";
import { finishMove, type MoveOptions } from "./move.ts";
import { frame } from "./part-blob.ts";
import { findPart, openPartFile, type PartShape, partName, removePart } from "./part-file.ts";
import { checkSpace, hasRoomFor, journalPath, spillPath } from "./part-place.ts";
import type { PositionalFile } from "./positional-file.ts";
import { relocate } from "./relocate.ts";
import { endBytes, paddingOf } from "./tar-header.ts";
import type { FoundParts } from "./volumes/volume-parts.ts";

/** An open part, laid out. */
export interface Part {
  readonly shape: PartShape;
  readonly file: PositionalFile;
  readonly journal: Journal;
  /** What is said to lie at its place in the layout. */
  readonly claims: Map<Digest, Claim>;
  readonly marks: Map<Digest, readonly Mark[]>;
  /** Nothing was written before this run: what was not written is zero. */
  readonly isNew: boolean;
}

export interface PartOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told if an earlier run has left something that is of use: how many bytes, of how many, and how many are of none. */
  readonly onTakenUp?: ((bytes: number, ofBytes: number, unused: number) => void) | undefined;
  /** Says what else becomes of the work of earlier runs. */
  readonly onNote?: ((message: string) => void) | undefined;
}

/**
 * Opens `PATH.part`, whose lock is held. Throws DISK (with needed and free bytes where space is short), or the
 * signal's reason.
 */
export async function openPart(shape: PartShape, layout: Layout, options: PartOptions): Promise<Part> {
  const { path } = shape;
  const name = partName(shape);
  const journalled = await readJournal(journalPath(path));
  const found = await findPart(shape).catch(asDiskError(`read ${name}`));
  const loss = lossOf(journalled, found.state);
  const isNew = loss !== undefined || journalled.claims.size === 0 || found.state !== "usable";
  if (loss !== undefined) options.onNote?.(`${basename(path)}: the pull starts afresh, since ${loss}`);
  let file: PositionalFile | undefined;
  let journal: Journal | undefined;
  try {
    // What has another shape is of no use, and in the way.
    const isCleared = found.state === "other" || (isNew && shape.volumeBytes !== undefined);
    if (isCleared) await removePart(path);
    await checkSpace(path, layout.totalBytes, isCleared ? 0 : found.occupiedBytes);
    // A move that no journal knows of is over.
    if (isNew) await rm(spillPath(path), { force: true });
    // The journal is there first: a part without one is nobody's.
    journal = isNew ? await Journal.start(journalPath(path)) : await Journal.resume(journalPath(path));
    reached("journal:started");
    file = await openPartFile(shape, isNew);
    reached("part:created");
    const claims = isNew
      ? new Map<Digest, Claim>()
      : await takeUp({ file, journal, shape }, layout, journalled, options);
    const unused = bytesOf(journalled.claims.values()) - bytesOf(claims.values());
    if (claims.size > 0) options.onTakenUp?.(bytesOf(claims.values()), layout.totalBytes, unused);
    await resize(file, path, layout.totalBytes);
    await writeMetadata(file, layout, name, isNew);
    const marks = [...journalled.marks].filter(([digest]) => claims.has(digest));
    return { shape, file, journal, claims, marks: new Map(marks), isNew };
  } catch (error) {
    await file?.close();
    await journal?.close().catch(() => undefined);
    // Nothing of value is lost: a new file holds nothing yet.
    if (isNew && journal !== undefined) await removePart(path).catch(() => undefined);
    throw diskError(`write ${name}`, error);
  }
}

/**
 * Moves what is whole to the places of a layout that has nothing else, and gives what is whole there: less than that if
 * the disk has no room to move it. Throws DISK, or the signal's reason; the next run goes on from there.
 */
export async function changeLayout(
  { file, journal }: Pick<Part, "file" | "journal">,
  whole: ReadonlyMap<Digest, Claim>,
  layout: Layout,
  { shape, signal }: { readonly shape: PartShape; readonly signal: AbortSignal | undefined },
): Promise<ReadonlySet<Digest>> {
  const name = partName(shape);
  const placed = await relocate(file, whole, layout, movingIn(shape, journal, signal));
  const found = new Set<Digest>();
  for (const entry of layout.blobs.values()) {
    if (entry.size > 0 ? !placed.has(entry.digest) : !whole.has(entry.digest)) continue;
    await frame({ file, name, entry, pads: true });
    found.add(entry.digest);
  }
  await writeMetadata(file, layout, name, false);
  return found;
}

/** Ends the file where the layout ends, in zeros: what an earlier run had behind that is given up. Throws DISK. */
export async function cut(file: PositionalFile, layout: Layout, name: string): Promise<void> {
  try {
    await file.truncate(layout.totalBytes);
  } catch (error) {
    throw diskError(`write ${name}`, error);
  }
  await writeAll(file, [Buffer.alloc(endBytes)], layout.totalBytes - endBytes, name);
}

/** Removes what an earlier run has left of a bundle that is whole by now. Throws CONFLICT while another process writes it. */
export async function discardPart(path: string): Promise<void> {
  const { state } = await readJournal(journalPath(path));
  const isThere = state !== "absent" || (await findPart({ path })).state !== "none";
  // A lock that a killed process has left would be joined with the volumes.
  if (!isThere && !(await BundleLock.isThere(path))) return;
  const lock = await BundleLock.take(path);
  await removePart(path).finally(async () => await lock.release());
}

/** The files at the front of a bundle. In a file that is not new, what is to be zero is written, too. */
async function writeMetadata(
  file: PositionalFile,
  layout: Layout,
  name: string,
  isNew: boolean,
): Promise<void> {
  for (const entry of layout.metadata) {
    const padding = isNew ? [] : [Buffer.alloc(paddingOf(entry.size))];
    await writeAll(file, [entry.header, entry.bytes, ...padding], entry.headerOffset, name);
  }
}

/** Brings what is there to its places. */
async function takeUp(
  { file, journal, shape }: { file: PositionalFile; journal: Journal; shape: PartShape },
  layout: Layout,
  { claims, step }: Journalled,
  options: PartOptions,
): Promise<Map<Digest, Claim>> {
  const moving = movingIn(shape, journal, options.signal);
  const known = new Map(claims);
  if (step !== undefined) {
    const log: MoveLog = {
      step: async (next) => await journal.step(next),
      moved: async (claim) => {
        known.delete(claim.digest);
        known.set(claim.digest, claim);
        await journal.moved(claim);
      },
    };
    await finishMove(file, step, { ...moving, log });
  }
  return new Map(await relocate(file, known, layout, moving));
}

function movingIn(shape: PartShape, log: MoveLog, signal: AbortSignal | undefined): MoveOptions {
  return { log, spillPath: spillPath(shape.path), name: partName(shape), signal };
}

/**
 * Makes the file as long as the layout. What it has behind that stays until the bundle is done, if the disk has room for
 * both: the next list may want it again.
 */
async function resize(file: PositionalFile, path: string, bytes: number): Promise<void> {
  const { size } = await file.stat({ bigint: true });
  if (size > bytes && (await hasRoomFor(path, bytes))) return;
  await file.truncate(bytes);
}

function bytesOf(claims: Iterable<Claim>): number {
  let bytes = 0;
  for (const { got } of claims) bytes += got;
  return bytes;
}

/** Why nothing of an earlier run can be used; undefined if it can, or if there was none. */
function lossOf(journalled: Journalled, part: FoundParts["state"]): string | undefined {
  if (journalled.state === "absent" && part === "none") return undefined;
  if (journalled.state === "absent") return "the journal of its unfinished part is gone";
  if (journalled.state === "foreign")
    return "the journal of its unfinished part is damaged, or that of another version";
  if (part === "other" && journalled.claims.size > 0)
    return "its unfinished part is not in volumes of this size";
  return undefined;
}
