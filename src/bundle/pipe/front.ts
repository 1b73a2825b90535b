/** The front of a bundle that comes through a pipe: its metadata, and its manifests, which are kept in memory. */
import { Proof } from "../../content/verify.ts";
import { type AppError, toAppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { maxManifestBytes } from "../../oci/manifest.ts";
import type { BlobEntry, Layout, LayoutEntry, MetadataFile } from "../layout.ts";
import { type BundleDescription, maxMetadataBytes, metadataPaths, mirrorFilePath } from "../metadata.ts";
import { proveMetadata } from "../prove-metadata.ts";
import { blockBytes, paddingOf, readHeader } from "../tar-header.ts";
import { Ended, type Feed } from "./feed.ts";
import { damaged, endedEarly, notABundle, nothingCame } from "./pipe-errors.ts";

/** What the front tells. */
export interface Front {
  readonly description: BundleDescription;
  readonly layout: Layout;
  /** The digest of `mirror.json`. */
  readonly fingerprint: Digest;
  /** The manifests as the bytes that came, or what is wrong with them. */
  readonly manifests: ReadonlyMap<Digest, Uint8Array | AppError>;
}

/** Reads the front. Throws BUNDLE if it is of something else, INTEGRITY if it is damaged or ends. */
export async function readFront(feed: Feed, name: string): Promise<Front> {
  const metadata = await readMetadata(feed, name);
  const { description, layout, fingerprint } = await proveMetadata(
    metadata.map(({ file }) => file),
    (state) => damaged(name, state),
  );
  for (const [index, entry] of layout.metadata.entries()) {
    if (metadata[index]?.header.equals(entry.header) !== true) throw badHeader(name, entry.path);
  }
  try {
    const last = layout.metadata.at(-1);
    await feed.exactly(paddingOf(last?.size ?? 0));
    const manifests = new Map<Digest, Uint8Array | AppError>();
    for (const { digest } of description.contents.manifests) {
      const entry = layout.blobs.get(digest);
      if (entry === undefined || manifests.has(digest)) continue;
      manifests.set(digest, await readManifest(feed, entry, name));
      await feed.exactly(paddingOf(entry.size));
    }
    return { description, layout, manifests, fingerprint };
  } catch (error) {
    if (error instanceof Ended) throw endedEarly(name, { got: feed.offset, expected: layout.totalBytes });
    throw error;
  }
}

/** Reads the header of an entry; the error if it is not as it was written. Throws {@link Ended}. */
export async function readEntryHeader(
  feed: Feed,
  entry: LayoutEntry & { readonly digest: Digest },
  name: string,
): Promise<AppError | undefined> {
  const found = await feed.exactly(entry.header.byteLength);
  return entry.header.equals(found) ? undefined : badHeader(name, entry.digest);
}

async function readManifest(feed: Feed, entry: BlobEntry, name: string): Promise<Uint8Array | AppError> {
  const { digest, size } = entry;
  const wrong = await readEntryHeader(feed, entry, name);
  const proof = new Proof({ mediaType: "", digest, size });
  const kept: Uint8Array[] = [];
  let failure = wrong;
  if (size > maxManifestBytes) failure ??= damaged(name, `the manifest ${digest} is ${size} bytes long`);
  for (let left = size; left > 0; ) {
    const piece = await feed.some(left);
    left -= piece.byteLength;
    if (failure !== undefined) continue;
    kept.push(Buffer.from(piece));
    try {
      proof.update(piece);
    } catch (error) {
      failure = damagedContent(name, digest, error);
    }
  }
  return failure ?? Buffer.concat(kept);
}

/** The error for content that did not prove right. */
export function damagedContent(name: string, digest: Digest, error: unknown): AppError {
  const state = toAppError(error).message.replace(`Cannot verify ${digest}: `, "");
  return damaged(name, `${digest} is damaged: ${state}`, error);
}

function badHeader(name: string, what: string): AppError {
  return damaged(name, `the tar header of ${what} is not as it was written`);
}

/** The files up to and including mirror.json, with their headers; the padding of the last one is not yet read. */
async function readMetadata(
  feed: Feed,
  name: string,
): Promise<{ readonly header: Buffer; readonly file: MetadataFile }[]> {
  const found: { header: Buffer; file: MetadataFile }[] = [];
  try {
    while (found.at(-1)?.file.path !== mirrorFilePath) {
      const before = found.at(-1);
      if (before !== undefined) await feed.exactly(paddingOf(before.file.bytes.byteLength));
      const header = await feed.exactly(blockBytes);
      const { name: path, size } = readFirst(header, name, found.length > 0);
      if (found.length === metadataPaths.size) throw notABundle(name);
      if (size > maxMetadataBytes) throw damaged(name, `its ${path} claims to be ${size} bytes long`);
      found.push({ header, file: { path, bytes: await feed.exactly(size) } });
    }
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    if (feed.offset === 0) throw nothingCame(name);
    if (found.length === 0) throw notABundle(name);
    throw damaged(name, `it ended after ${feed.offset} bytes, in its table of contents`);
  }
  return found;
}

function readFirst(header: Buffer, name: string, ours: boolean): { name: string; size: number } {
  let read: { name: string; size: number } | undefined;
  try {
    read = readHeader(header);
  } catch (error) {
    // One damaged bit leaves the name of our own first file standing.
    if (ours || header.toString("latin1", 0, 10) === "oci-layout")
      throw damaged(name, "the tar header at its beginning is not as it was written");
    throw notABundle(name, error);
  }
  if (read === undefined || !metadataPaths.has(read.name) || !Number.isSafeInteger(read.size))
    throw notABundle(name);
  return read;
}
