/** Opens whatever holds images on this machine, by what it is and not by what it is called. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { AppError } from "../errors.ts";
import { ArchiveBundle, type ArchiveOptions } from "./archive/archive-bundle.ts";
import { unreadArchive } from "./archive/archive-error.ts";
import { CompressedFiles } from "./archive/compressed-files.ts";
import { compressionOf, magicBytes } from "./archive/compression.ts";
import { FolderFiles } from "./archive/folder-files.ts";
import { TarFiles } from "./archive/tar-files.ts";
import type { Bundle } from "./bundle.ts";
import { asDiskError, diskError } from "./disk.ts";
import { foreignFilePaths, mirrorFilePath } from "./metadata.ts";
import { BundleReader } from "./reader.ts";
import { blockBytes, paddingOf, readHeader } from "./tar-header.ts";
import { isVolumeSet, type VolumeOptions } from "./volumes/volume-set.ts";

export interface OpenBundleOptions extends ArchiveOptions, VolumeOptions {
  /** Refuses what is compressed: content is wanted in any order, and each would take a pass over all of it. */
  readonly anyOrder?: boolean | undefined;
}

/**
 * Opens a bundle, an archive of another tool (docker save, podman save, skopeo, oras, ctr, hauler, crane; plain, gzip or
 * zstd) or a folder with an OCI image layout. Throws NOT_FOUND or DISK if it cannot be read, BUNDLE if it is none of
 * these, INTEGRITY if it is damaged, USAGE if a name has to be given.
 */
export async function openBundle(path: string, options: OpenBundleOptions = {}): Promise<Bundle> {
  if (await isVolumeSet(path)) return await BundleReader.open(path, options);
  const found = await stat(path).catch(asDiskError(`read ${path}`));
  if (found.isDirectory()) return await ArchiveBundle.open(await FolderFiles.open(path), options);
  if (!found.isFile())
    throw new AppError("BUNDLE", `Cannot read ${path}: it is neither a file nor a folder`, {
      hint: "name a bundle, an archive of images, or a folder with an OCI layout",
    });
  const { ours, head } = await look(path);
  if (ours && options.tag === undefined) return await BundleReader.open(path, options);
  const compression = compressionOf(head);
  if (compression === undefined) return await ArchiveBundle.open(await TarFiles.open(path), options);
  const canDecompress = compression === "gzip" || compression === "zstd";
  if (canDecompress && options.anyOrder !== true) {
    options.onNote?.(
      `${path} is compressed: it is read once to find out what is in it, and then for its content`,
    );
    return await ArchiveBundle.open(await CompressedFiles.open(path, compression, options), options);
  }
  throw unreadArchive(
    path,
    `it is compressed with ${compression}${canDecompress ? ", and content is taken out of it in another order than it lies there" : ""}`,
    `decompress it first: ${compression} --decompress --keep ${path}`,
  );
}

/** Reads the first headers: a bundle of ours has mirror.json among them. */
async function look(path: string): Promise<{ readonly ours: boolean; readonly head: Buffer }> {
  const file = await open(path, "r").catch(asDiskError(`read ${path}`));
  try {
    const first = await readBlock(file, 0);
    let block = first;
    let offset = 0;
    for (let count = 0; count <= foreignFilePaths.size && block.byteLength === blockBytes; count += 1) {
      const header = headerOf(block);
      if (header?.name === mirrorFilePath) return { ours: true, head: first.subarray(0, magicBytes) };
      if (header === undefined || !foreignFilePaths.has(header.name) || !Number.isSafeInteger(header.size))
        break;
      offset += blockBytes + header.size + paddingOf(header.size);
      block = await readBlock(file, offset);
    }
    return { ours: false, head: first.subarray(0, magicBytes) };
  } catch (error) {
    throw diskError(`read ${path}`, error);
  } finally {
    await file.close();
  }
}

/** Undefined for a damaged header too: whoever reads the archive then says where it is. */
function headerOf(block: Buffer): ReturnType<typeof readHeader> {
  try {
    return readHeader(block);
  } catch {
    return undefined;
  }
}

async function readBlock(file: FileHandle, position: number): Promise<Buffer> {
  const block = Buffer.alloc(blockBytes);
  const { bytesRead } = await file.read(block, 0, blockBytes, position);
  return block.subarray(0, bytesRead);
}
