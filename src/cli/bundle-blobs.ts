/** Which repositories the blobs of a bundle belong to. */
import type { BundleReader } from "../bundle/reader.ts";
import { bareDescriptor, type Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest, successors } from "../oci/manifest.ts";

/**
 * The repositories, as the bundle names them, of every config and layer that its images lead to: of each blob the
 * first `most`, sorted. Throws INTEGRITY for a bundle whose manifests are damaged.
 */
export async function blobsByRepository(
  bundle: BundleReader,
  most: number,
): Promise<ReadonlyMap<Digest, readonly string[]>> {
  const manifests = new Set(bundle.contents.manifests.map(({ digest }) => digest));
  const byDigest = new Map<Digest, Set<string>>();
  const rooted = bundle.images.map(({ root, target }) => ({ root, repository: target.repository }));
  const children = new Map<Digest, readonly Descriptor[]>();
  const childrenOf = async ({ digest, mediaType }: Descriptor): Promise<readonly Descriptor[]> => {
    const known = children.get(digest);
    if (known !== undefined) return known;
    const { bytes, descriptor } = await bundle.manifest(digest, { mediaType });
    const found = successors(parseManifest(bytes, descriptor.mediaType, digest)).map(bareDescriptor);
    children.set(digest, found);
    return found;
  };
  for (const { root, repository } of rooted.sort((a, b) => (a.repository < b.repository ? -1 : 1))) {
    const seen = new Map([[root.digest, root]]);
    // Whatever is added while it is walked is walked too.
    for (const [digest, part] of seen) {
      if (manifests.has(digest)) {
        for (const child of await childrenOf(part)) seen.set(child.digest, child);
        continue;
      }
      const places = byDigest.get(digest) ?? new Set();
      byDigest.set(digest, places);
      if (places.size < most) places.add(repository);
    }
  }
  return new Map([...byDigest].map(([digest, places]) => [digest, [...places]]));
}
