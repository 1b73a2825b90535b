/** The files at the front of a bundle and its tar headers, read and compared with what they have to be. */
import { AppError } from "../errors.ts";
import { asDiskError, readExactly } from "./disk.ts";
import type { MetadataFile } from "./layout.ts";
import { maxMetadataBytes, metadataPaths, mirrorFilePath } from "./metadata.ts";
import type { PositionalReader } from "./positional-file.ts";
import { blockBytes, paddingOf, readHeader } from "./tar-header.ts";

type Readable = Pick<PositionalReader, "read">;

interface HeaderPlace {
  readonly header: Buffer;
  readonly headerOffset: number;
}

/** Reads the header of a file of the tar and compares it. Throws INTEGRITY or DISK. `name` is that of the file. */
export async function checkHeader(
  file: Readable,
  path: string,
  place: HeaderPlace,
  name: string,
): Promise<void> {
  compareHeader(
    await readExactly(file, place.headerOffset, place.header.byteLength, path),
    path,
    place,
    name,
  );
}

/** Throws INTEGRITY if a header is not the one that the layout makes. */
export function compareHeader(found: Uint8Array, path: string, place: HeaderPlace, name: string): void {
  if (!place.header.equals(found)) throw damaged(path, `the tar header of ${name} is not as it was written`);
}

/** The files in front of the blobs, up to and including mirror.json. Throws BUNDLE, INTEGRITY or DISK. */
export async function readMetadata(file: Readable, path: string): Promise<MetadataFile[]> {
  const files: MetadataFile[] = [];
  let offset = 0;
  while (files.at(-1)?.path !== mirrorFilePath) {
    const header = await firstHeader(file, offset, path, files.length > 0);
    if (header === undefined || !metadataPaths.has(header.name) || files.length === metadataPaths.size)
      throw notABundle(path);
    if (header.size > maxMetadataBytes)
      throw damaged(path, `its ${header.name} claims to be ${header.size} bytes long`);
    const bytes = await readExactly(file, offset + blockBytes, header.size, path);
    files.push({ path: header.name, bytes });
    offset += blockBytes + header.size + paddingOf(header.size);
  }
  return files;
}

async function firstHeader(
  file: Readable,
  offset: number,
  path: string,
  ours: boolean,
): Promise<{ name: string; size: number } | undefined> {
  const block = Buffer.alloc(blockBytes);
  const { bytesRead } = await file.read(block, 0, blockBytes, offset).catch(asDiskError(`read ${path}`));
  if (bytesRead < blockBytes) {
    if (ours) throw damaged(path, "it is truncated");
    throw notABundle(path);
  }
  try {
    return readHeader(block);
  } catch (error) {
    // One damaged bit leaves the name or the magic of our own first file standing.
    const known =
      ours ||
      block.toString("latin1", 0, 10) === "oci-layout" ||
      block.toString("latin1", 257, 262) === "ustar";
    throw known
      ? damaged(path, "the tar header at its beginning is not as it was written")
      : notABundle(path, error);
  }
}

/** The error for a bundle that is not as it was written. */
export function damaged(path: string, state: string, cause?: unknown): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${path}: ${state}`, {
    hint: "copy the bundle again, or pull it again",
    cause,
  });
}

/** The error for what is no bundle of ours. */
export function notABundle(path: string, cause?: unknown): AppError {
  return new AppError("BUNDLE", `Cannot read ${path}: it is not a bundle that mirror pull wrote`, {
    hint: "a bundle is a plain tar, not compressed, with a mirror.json in it",
    cause,
  });
}
