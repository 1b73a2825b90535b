/** Which repositories the blobs of a bundle belong to. */
import type { Bundle } from "../bundle/bundle.ts";
import { BundleReader } from "../bundle/reader.ts";
import { isAppError } from "../errors.ts";
import { bareDescriptor, type Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest, successors } from "../oci/manifest.ts";
import { isManifestOrIndexType } from "../oci/media-types.ts";

/**
 * The repositories, as the bundle names them, of every config and layer that its images lead to: of each blob the
 * first `most`, sorted; none for images without a name. Parts that an archive lacks are left out. Throws INTEGRITY for a
 * bundle whose manifests are damaged.
 */
export async function blobsByRepository(
  bundle: Bundle,
  most: number,
): Promise<ReadonlyMap<Digest, readonly string[]>> {
  const isManifest = manifestTest(bundle);
  const byDigest = new Map<Digest, Set<string>>();
  const rooted = bundle.images.map(({ root, target, unnamed }) => ({
    root,
    repository: unnamed === true ? undefined : target.repository,
  }));
  const children = new Map<Digest, readonly Descriptor[]>();
  const childrenOf = async ({ digest, mediaType }: Descriptor): Promise<readonly Descriptor[]> => {
    const known = children.get(digest);
    if (known !== undefined) return known;
    const raw = await bundle.manifest(digest, { mediaType }).catch((error: unknown) => {
      if (!(bundle instanceof BundleReader) && isAppError(error, "NOT_FOUND")) return undefined;
      throw error;
    });
    const found =
      raw === undefined
        ? []
        : successors(parseManifest(raw.bytes, raw.descriptor.mediaType, digest)).map(bareDescriptor);
    children.set(digest, found);
    return found;
  };
  const nameOf = ({ repository = "" }: { readonly repository: string | undefined }): string => repository;
  for (const { root, repository } of rooted.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))) {
    const seen = new Map([[root.digest, root]]);
    // Whatever is added while it is walked is walked too.
    for (const [digest, part] of seen) {
      if (isManifest(part)) {
        for (const child of await childrenOf(part)) seen.set(child.digest, child);
        continue;
      }
      const places = byDigest.get(digest) ?? new Set();
      byDigest.set(digest, places);
      if (repository !== undefined && places.size < most) places.add(repository);
    }
  }
  return new Map([...byDigest].map(([digest, places]) => [digest, [...places]]));
}

/** Our bundles say which content is a manifest, in others its type does. */
function manifestTest(bundle: Bundle): (part: Descriptor) => boolean {
  if (!(bundle instanceof BundleReader)) return ({ mediaType }) => isManifestOrIndexType(mediaType);
  const manifests = new Set(bundle.contents.manifests.map(({ digest }) => digest));
  return ({ digest }) => manifests.has(digest);
}
