/** What push, verify, ls and inspect work with: images and their content in one file or folder, whoever wrote it. */
import type { Source } from "../content/content.ts";
import type { Digest } from "../oci/digest.ts";
import type { BundleImage } from "./metadata.ts";

/** An open bundle or archive. Close it when done. */
export interface Bundle extends Source, AsyncDisposable {
  /** As the user named it, for messages. */
  readonly path: string;
  readonly images: readonly BundleImage[];
  /** Size of all that is read of it, in bytes. */
  readonly totalBytes: number;
  /** What deltas know it by: equal for bundles of the same images. */
  readonly fingerprint: Digest;
  /** True if this content is there (which is not yet to say that it is undamaged, or that its volumes are there). */
  has(digest: Digest): boolean;
  /** The file names of the volumes that hold some of this content and are not there; empty if all of it is. */
  lacking(digest: Digest): readonly string[];
  /** Throws DISK if it has changed since it was opened: what is wrong with it then says nothing of the bundle. */
  refuseChanged(): Promise<void>;
}
