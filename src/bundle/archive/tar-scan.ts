/** The entries of a tar, one after the other, with everything in it that could mislead refused (protocol notes 9.4). */
import { blockBytes, paddingOf } from "../tar-header.ts";
import { damagedArchive, shownName, unreadArchive } from "./archive-error.ts";
import type { Cursor } from "./cursor.ts";
import { type PaxFields, readFields, readLongName, readPax, TarFault } from "./tar-fields.ts";

/** One entry. Its content begins where the cursor stands when it is given out. */
export interface TarEntry {
  readonly name: string;
  readonly kind: "file" | "link" | "other";
  /** Where a link leads to, as it stands in the archive. */
  readonly link: string;
  /** True for a link that is relative to its own folder (a symbolic one). */
  readonly symbolic: boolean;
  /** Offset and size of the content in bytes. */
  readonly offset: number;
  readonly size: number;
}

/** No archive of images has more entries. */
const maxEntries = 500_000;
/** No extended header is longer, and all of them together are not longer, in bytes. */
const maxExtendedBytes = 1024 * 1024;
const maxExtendedTotal = 64 * 1024 * 1024;

/** `x`, `g`: PAX; `L`, `K`: long names of GNU tar. */
const extended: ReadonlySet<string> = new Set(["x", "g", "L", "K"]);
const links: ReadonlySet<string> = new Set(["1", "2"]);
/** Devices, folders, pipes and volume labels: nothing in them is content. */
const withoutContent: ReadonlySet<string> = new Set(["3", "4", "5", "6", "V"]);

/**
 * Yields every entry. Whoever wants the content reads it from the cursor before asking for the next entry. Throws
 * INTEGRITY for what is damaged or untrue, BUNDLE for what is no tar or not read.
 */
export async function* scanTar(cursor: Cursor, path: string): AsyncGenerator<TarEntry, void> {
  let pending: PaxFields = {};
  let extendedTotal = 0;
  let place = 0;
  try {
    for (let count = 0; ; count += 1) {
      if (count >= maxEntries)
        throw unreadArchive(path, `it has more than ${maxEntries} entries, as no archive of images does`);
      place = cursor.position;
      const block = cursor.ready(blockBytes) ?? (await cursor.read(blockBytes));
      if (block === undefined || block.every((byte) => byte === 0)) {
        if (count === 0) throw unreadArchive(path, "it is empty, or not a tar");
        if (Object.keys(pending).length > 0) throw damagedArchive(path, "it ends behind an extended header");
        // GNU tar goes on behind one empty block, Go does not: two readers would see two archives.
        const second = block === undefined ? undefined : await cursor.read(blockBytes);
        if (second?.some((byte) => byte !== 0) === true)
          throw damagedArchive(path, `there is a single empty block at byte ${place}`);
        return;
      }
      const fields = readFields(block);
      if (extended.has(fields.type)) {
        extendedTotal += fields.size;
        if (fields.size > maxExtendedBytes || extendedTotal > maxExtendedTotal)
          throw unreadArchive(path, "its extended headers are longer than those of any archive of images");
        const offset = cursor.position;
        const bytes = fields.size === 0 ? Buffer.alloc(0) : await cursor.read(fields.size);
        if (bytes === undefined) throw endsEarly(path, place);
        pending = extend(pending, fields.type, bytes);
        await cursor.skipTo(offset + fields.size + paddingOf(fields.size));
        continue;
      }
      const size = pending.size ?? fields.size;
      const name = pending.name ?? fields.name;
      const offset = cursor.position;
      if (pending.sparse === true || fields.type === "S")
        throw unreadArchive(
          path,
          `${shownName(name)} is a sparse file of GNU tar`,
          "write it without --sparse",
        );
      yield entryOf({ ...fields, name, size, link: pending.link ?? fields.link }, cursor, path);
      pending = {};
      const end = offset + size;
      if (cursor.position < end) await cursor.skipTo(end);
      const next = end + paddingOf(size);
      if (cursor.position === end && next > end) await cursor.skipTo(next);
      // Two empty blocks at the end may be missing, a part of one is cut off.
      if (cursor.position < next || next > (cursor.size ?? next))
        throw damagedArchive(path, `it is truncated in the middle of ${shownName(name)}`);
    }
  } catch (error) {
    if (!(error instanceof TarFault)) throw error;
    if (place === 0 && !error.isTar)
      throw unreadArchive(path, "it is neither a bundle nor an archive of images", readable);
    throw damagedArchive(path, `the tar header at byte ${place} ${error.message}`, error);
  }
}

/** What may be given to this program. */
export const readable =
  "give it a bundle, what docker save, podman save, skopeo, oras, ctr or hauler wrote, or an OCI layout";

function entryOf(
  fields: { readonly name: string; readonly size: number; readonly type: string; readonly link: string },
  cursor: Cursor,
  path: string,
): TarEntry {
  const { name, size, type, link } = fields;
  const offset = cursor.position;
  if (size > 0 && (links.has(type) || withoutContent.has(type)))
    throw damagedArchive(path, `${shownName(name)} is no file, and claims to have ${size} bytes of content`);
  if (!Number.isSafeInteger(offset + size + blockBytes))
    throw damagedArchive(path, `${shownName(name)} claims to have ${size} bytes`);
  if (cursor.size !== undefined && offset + size > cursor.size) {
    const state = `${shownName(name)} should end at byte ${offset + size}, and the file does at ${cursor.size}`;
    throw damagedArchive(path, `it is truncated: ${state}`);
  }
  const kind =
    type === "0" ? "file" : links.has(type) ? "link" : withoutContent.has(type) ? "other" : undefined;
  if (kind === undefined)
    throw unreadArchive(path, `${shownName(name)} is an entry of the type ${shownName(type)}`);
  return { name, kind, link, symbolic: type === "2", offset, size };
}

/** What an extended header adds to what is known of the next entry. */
function extend(pending: PaxFields, type: string, bytes: Buffer): PaxFields {
  if (type === "L") return { ...pending, name: readLongName(bytes) };
  if (type === "K") return { ...pending, link: readLongName(bytes) };
  const records = readPax(bytes);
  if (type === "x") return { ...pending, ...records };
  // Of all entries at once nothing can be said that an archive of images needs.
  if (Object.keys(records).length > 0) throw new TarFault("gives all entries one name or size");
  return pending;
}

function endsEarly(path: string, at: number): Error {
  return damagedArchive(path, `it is truncated, there is nothing behind byte ${at + blockBytes}`);
}
