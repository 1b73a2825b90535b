/** Moves the contents of an unfinished bundle to the places of a smaller layout, inside the file. */
import type { FileHandle } from "node:fs/promises";
import { AppError } from "../errors.ts";
import { readExactly, writeAll } from "./disk.ts";
import type { BlobEntry, Layout } from "./layout.ts";
import { endBytes, paddingOf } from "./tar-header.ts";

const pieceBytes = 4 * 1024 * 1024;

/** Blobs of up to this size may come in another order: they are kept in memory while the others move. Bytes. */
const maxHeldBytes = 16 * 1024 * 1024;

/**
 * Rewrites the file from one layout to another that has fewer blobs in the same order. Everything moves towards
 * the front, in order, so nothing is overwritten before it has moved, and no second copy is needed. Small blobs
 * (manifests, and what was a config of an image that is gone) may have another order.
 */
export async function compact(file: FileHandle, from: Layout, to: Layout, name: string): Promise<void> {
  const moves: { readonly old: BlobEntry; readonly entry: BlobEntry; readonly held?: Buffer }[] = [];
  let reached = 0;
  for (const entry of to.blobs.values()) {
    const old = from.blobs.get(entry.digest);
    if (old === undefined) throw new AppError("INTERNAL", `${entry.digest} is not in the bundle`);
    if (old.contentOffset >= reached) {
      reached = old.contentOffset;
      moves.push({ old, entry });
      continue;
    }
    if (entry.size > maxHeldBytes) throw new AppError("INTERNAL", `${entry.digest} is out of order`);
    moves.push({ old, entry, held: await readExactly(file, old.contentOffset, entry.size, name) });
  }
  for (const { old, entry, held } of moves) {
    if (held === undefined) await move(file, old, entry, name);
    else await writeAll(file, [held], entry.contentOffset, name);
    await writeAll(file, [entry.header], entry.headerOffset, name);
    await writeAll(file, [Buffer.alloc(paddingOf(entry.size))], entry.contentOffset + entry.size, name);
  }
  for (const entry of to.metadata) {
    const padding = Buffer.alloc(paddingOf(entry.size));
    await writeAll(file, [entry.header, entry.bytes, padding], entry.headerOffset, name);
  }
  await writeAll(file, [Buffer.alloc(endBytes)], to.totalBytes - endBytes, name);
  await file.truncate(to.totalBytes);
}

async function move(file: FileHandle, from: BlobEntry, to: BlobEntry, name: string): Promise<void> {
  if (from.contentOffset === to.contentOffset) return;
  if (from.contentOffset < to.contentOffset)
    throw new AppError("INTERNAL", `${to.digest} would move towards the end`);
  for (let done = 0; done < to.size; done += pieceBytes) {
    const length = Math.min(pieceBytes, to.size - done);
    const piece = await readExactly(file, from.contentOffset + done, length, name);
    await writeAll(file, [piece], to.contentOffset + done, name);
  }
}
