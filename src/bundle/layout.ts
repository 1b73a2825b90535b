/**
 * Where everything in a bundle lies, computed before a byte is fetched: pure arithmetic over the plan. The order
 * of the entries and every header field follow from the contents, so equal plans give equal bytes.
 */
import { createHash } from "node:crypto";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { endBytes, paddingOf, tarHeader } from "./tar-header.ts";

/** One file of the tar. Offsets and sizes in bytes. */
export interface LayoutEntry {
  readonly path: string;
  readonly header: Buffer;
  readonly headerOffset: number;
  readonly contentOffset: number;
  readonly size: number;
}

export interface BlobEntry extends LayoutEntry {
  readonly digest: Digest;
}

/** Everything in a bundle, in its order. */
export interface BundleContents {
  /** Manifests and indexes, children before parents. */
  readonly manifests: readonly BlobSize[];
  readonly configs: readonly BlobSize[];
  readonly layers: readonly BlobSize[];
}

export type BlobSize = Pick<Descriptor, "digest" | "size">;

/** A small file at the front of the bundle. */
export interface MetadataFile {
  readonly path: string;
  readonly bytes: Buffer;
}

export interface Layout {
  readonly metadata: readonly (LayoutEntry & MetadataFile)[];
  readonly blobs: ReadonlyMap<Digest, BlobEntry>;
  /** Size of the whole tar in bytes, its end marker included. */
  readonly totalBytes: number;
  /** Where the front ends, in bytes: metadata, manifests, and the configs unless they are many. */
  readonly frontBytes: number;
  /** Tells layouts apart: equal for equal plans only. */
  readonly id: string;
}

/** A front is not made larger than this for the sake of the configs. Bytes. */
const wantedFrontBytes = 16 * 1024 * 1024;

/** `blobs/<algorithm>/<hex>`: where the OCI image layout keeps content. */
export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** Gives every file its place. Metadata comes first, so that a reader can plan from a pipe. */
export async function layOut(metadata: readonly MetadataFile[], contents: BundleContents): Promise<Layout> {
  const id = createHash("sha256");
  let offset = 0;
  const place = async (path: string, size: number): Promise<LayoutEntry> => {
    const header = await tarHeader(path, size);
    const headerOffset = offset;
    const contentOffset = headerOffset + header.byteLength;
    offset = contentOffset + size + paddingOf(size);
    return { path, header, headerOffset, contentOffset, size };
  };
  const files: (LayoutEntry & MetadataFile)[] = [];
  for (const file of metadata) {
    files.push({ ...(await place(file.path, file.bytes.byteLength)), bytes: file.bytes });
    id.update(file.path).update(file.bytes);
  }
  const blobs = new Map<Digest, BlobEntry>();
  const ends: number[] = [];
  for (const group of [contents.manifests, contents.configs, contents.layers]) {
    for (const { digest, size } of group) {
      if (blobs.has(digest)) continue;
      blobs.set(digest, { ...(await place(blobPath(digest), size)), digest });
      id.update(`${digest} ${size}\n`);
    }
    ends.push(offset);
  }
  const [afterManifests = 0, afterConfigs = 0] = ends;
  const frontBytes = afterConfigs <= wantedFrontBytes ? afterConfigs : afterManifests;
  const totalBytes = offset + endBytes;
  return { metadata: files, blobs, totalBytes, frontBytes, id: `sha256:${id.digest("hex")}` };
}
