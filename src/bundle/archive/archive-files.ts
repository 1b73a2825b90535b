/** The files of an archive that matter, by name: what a tar, a compressed tar and a folder have in common. */
import type { ByteStream, OpenOptions } from "../../content/content.ts";
import type { Digest } from "../../oci/digest.ts";
import { damagedArchive, unreadArchive } from "./archive-error.ts";
import type { LayerFacts } from "./layer-facts.ts";

/** One file. Sizes in bytes. */
export interface ArchiveFile {
  /** Its name in the archive, in which links are resolved. */
  readonly name: string;
  readonly size: number;
}

export interface ArchiveFiles extends AsyncDisposable {
  /** As the user named it. */
  readonly path: string;
  /** Size of the archive on the disk, in bytes. */
  readonly totalBytes: number;
  /** The file behind a name; undefined if there is none. Throws BUNDLE for links that lead nowhere or in a ring. */
  find(name: string): ArchiveFile | undefined;
  /** Its bytes from an offset on, not verified. */
  open(file: ArchiveFile, options?: OpenOptions): Promise<ByteStream>;
  /** Where files lie, for those who read many: content is cheap in this order only; undefined if in any. */
  readonly order?: ((file: ArchiveFile) => number) | undefined;
  /** Throws DISK if the archive has changed since it was opened. */
  refuseChanged(): Promise<void>;
  /** What is known of a layer already, because all of the archive had to be read. */
  factsOf?(file: ArchiveFile): LayerFacts | undefined;
  /** The digest of a file that was hashed as it went by; undefined for one that can be read. */
  digestOf?(file: ArchiveFile): Digest | undefined;
}

/** No JSON file of an archive is longer, in bytes (protocol notes 9.4). */
export const maxJsonBytes = 4 * 1024 * 1024;

/** Reads a small file. Throws BUNDLE if it is over the limit (bytes), INTEGRITY if it is truncated. */
export async function readSmall(
  files: ArchiveFiles,
  file: ArchiveFile,
  options: OpenOptions & { readonly limit?: number } = {},
): Promise<Buffer> {
  const { limit = maxJsonBytes } = options;
  if (file.size > limit)
    throw unreadArchive(
      files.path,
      `its ${file.name} is ${file.size} bytes long, and at most ${limit} are read`,
    );
  const chunks: Buffer[] = [];
  let got = 0;
  for await (const chunk of await files.open(file, options)) {
    // A chunk is only lent.
    chunks.push(Buffer.from(chunk));
    got += chunk.byteLength;
  }
  if (got !== file.size) throw damagedArchive(files.path, `its ${file.name} is truncated`);
  return Buffer.concat(chunks);
}
