/** The files at the front of a bundle, proved against each other; and with them where everything lies. */
import { AppError } from "../errors.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { type Layout, layOut, type MetadataFile } from "./layout.ts";
import { type BundleDescription, readMirrorFile } from "./metadata.ts";

/** What the files tell, and the digest of `mirror.json`. */
interface ProvedMetadata {
  readonly description: BundleDescription;
  readonly layout: Layout;
  readonly fingerprint: Digest;
}

/**
 * Reads the last file, `mirror.json`, and proves the others by it. `damaged` makes the error for a file that is not
 * the one which belongs to it. Throws INTEGRITY, and BUNDLE for another version.
 */
export async function proveMetadata(
  metadata: readonly MetadataFile[],
  damaged: (state: string) => AppError,
): Promise<ProvedMetadata> {
  const mirrorFile = metadata.at(-1);
  if (mirrorFile === undefined) throw new AppError("INTERNAL", "a bundle without files");
  const description = readMirrorFile(mirrorFile.bytes);
  for (const { path, bytes } of metadata.slice(0, -1)) {
    if (description.files[path] !== digestOf(bytes))
      throw damaged(`its ${path} is not the one that belongs to it`);
  }
  const layout = await layOut(metadata, description.contents);
  return { description, layout, fingerprint: digestOf(mirrorFile.bytes) };
}
