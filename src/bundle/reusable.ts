/** What a pull takes over from bundles that are there already. */
import type { ByteStream, OpenOptions } from "../content/content.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";

/** Content of an earlier bundle, which need not be fetched. */
export interface Reusable {
  /** What messages call it. */
  readonly path: string;
  has(digest: Digest): boolean;
  /** What of it is not there, though the bundle has it; see {@link BundleReader.lacking}. */
  lacking(digest: Digest): readonly string[];
  open(descriptor: Descriptor, options?: OpenOptions): Promise<ByteStream>;
}
