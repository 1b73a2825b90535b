/**
 * Opens the `.part` of a bundle: takes up what an earlier run left there, in whatever layout, and lays the file out
 * for this one. All of it can be interrupted at any moment, and is done again by the next run.
 */
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename } from "node:path";
import { reached } from "../content/points.ts";
import { systemCode } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Claim, Mark, MoveLog } from "./claims.ts";
import { diskError, writeAll } from "./disk.ts";
import { Journal } from "./journal.ts";
import { type Journalled, readJournal } from "./journal-lines.ts";
import type { Layout } from "./layout.ts";
import { BundleLock } from "./lock.ts";
import { finishMove } from "./move.ts";
import { frame } from "./part-blob.ts";
import { checkSpace, hasRoomFor, journalPath, partPath, removePart, spillPath } from "./part-place.ts";
import { relocate } from "./relocate.ts";
import { endBytes, paddingOf } from "./tar-header.ts";

/** An open part, laid out. */
export interface Part {
  readonly file: FileHandle;
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
export async function openPart(path: string, layout: Layout, options: PartOptions): Promise<Part> {
  const name = partPath(path);
  const journalled = await readJournal(journalPath(path));
  const found = await stat(name).catch((error: unknown) => {
    // Whatever else keeps us from it may pass: it is not to be overwritten for that.
    if (systemCode(error) !== "ENOENT") throw diskError(`read ${name}`, error);
    return undefined;
  });
  const loss = lossOf(journalled, found?.size);
  const isNew = loss !== undefined || journalled.claims.size === 0 || found === undefined;
  if (loss !== undefined) options.onNote?.(`${basename(path)}: the pull starts afresh, since ${loss}`);
  let file: FileHandle | undefined;
  let journal: Journal | undefined;
  try {
    await checkSpace(path, layout.totalBytes);
    // The journal is there first: a part without one is nobody's.
    journal = isNew ? await Journal.start(journalPath(path)) : await Journal.resume(journalPath(path));
    reached("journal:started");
    file = await open(name, isNew ? "w+" : "r+", 0o644);
    reached("part:created");
    const claims = isNew
      ? new Map<Digest, Claim>()
      : await takeUp({ file, journal, path }, layout, journalled, options);
    const unused = bytesOf(journalled.claims.values()) - bytesOf(claims.values());
    if (claims.size > 0) options.onTakenUp?.(bytesOf(claims.values()), layout.totalBytes, unused);
    await resize(file, path, layout.totalBytes);
    await writeMetadata(file, layout, name, isNew);
    const marks = [...journalled.marks].filter(([digest]) => claims.has(digest));
    return { file, journal, claims, marks: new Map(marks), isNew };
  } catch (error) {
    await file?.close();
    await journal?.close().catch(() => undefined);
    // Nothing of value is lost: a new file holds nothing yet.
    if (isNew && journal !== undefined) await removePart(path);
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
  { path, signal }: { readonly path: string; readonly signal: AbortSignal | undefined },
): Promise<ReadonlySet<Digest>> {
  const name = partPath(path);
  const moving = { log: journal, spillPath: spillPath(path), name, signal };
  const placed = await relocate(file, whole, layout, moving);
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
export async function cut(file: FileHandle, layout: Layout, name: string): Promise<void> {
  try {
    await file.truncate(layout.totalBytes);
  } catch (error) {
    throw diskError(`write ${name}`, error);
  }
  await writeAll(file, [Buffer.alloc(endBytes)], layout.totalBytes - endBytes, name);
}

/** Removes what an earlier run has left of a bundle that is whole by now. Throws CONFLICT while another process writes it. */
export async function discardPart(path: string): Promise<void> {
  const isThere = async (file: string): Promise<boolean> =>
    await stat(file).then(
      () => true,
      () => false,
    );
  if (!(await isThere(partPath(path))) && !(await isThere(journalPath(path)))) return;
  const lock = await BundleLock.take(path);
  await removePart(path).finally(async () => await lock.release());
}

/** The files at the front of a bundle. In a file that is not new, what is to be zero is written, too. */
async function writeMetadata(file: FileHandle, layout: Layout, name: string, isNew: boolean): Promise<void> {
  for (const entry of layout.metadata) {
    const padding = isNew ? [] : [Buffer.alloc(paddingOf(entry.size))];
    await writeAll(file, [entry.header, entry.bytes, ...padding], entry.headerOffset, name);
  }
}

/** Brings what is there to its places. */
async function takeUp(
  { file, journal, path }: { file: FileHandle; journal: Journal; path: string },
  layout: Layout,
  { claims, step }: Journalled,
  options: PartOptions,
): Promise<Map<Digest, Claim>> {
  const moving = { log: journal, spillPath: spillPath(path), name: partPath(path), signal: options.signal };
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

/**
 * Makes the file as long as the layout. What it has behind that stays until the bundle is done, if the disk has room for
 * both: the next list may want it again.
 */
async function resize(file: FileHandle, path: string, bytes: number): Promise<void> {
  const { size } = await file.stat();
  if (size > bytes && (await hasRoomFor(path, bytes))) return;
  await file.truncate(bytes);
}

function bytesOf(claims: Iterable<Claim>): number {
  let bytes = 0;
  for (const { got } of claims) bytes += got;
  return bytes;
}

/** Why nothing of an earlier run can be used; undefined if it can, or if there was none. */
function lossOf(journalled: Journalled, partBytes: number | undefined): string | undefined {
  if (journalled.state === "absent" && partBytes === undefined) return undefined;
  if (journalled.state === "absent") return "the journal of its unfinished part is gone";
  if (journalled.state === "foreign")
    return "the journal of its unfinished part is damaged, or that of another version";
  return undefined;
}
