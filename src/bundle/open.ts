/** Opens whatever holds images on this machine, by what it is and not by what it is called. */
import type { Bundle } from "./bundle.ts";
import { BundleReader } from "./reader.ts";

/** Opens a bundle. Throws NOT_FOUND or DISK if it cannot be read, BUNDLE if it is none, INTEGRITY if it is damaged. */
export async function openBundle(path: string): Promise<Bundle> {
  return await BundleReader.open(path);
}
