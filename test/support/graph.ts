/** What a test registry lacks of an image: the proof that a tag leads to something complete. */
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { isManifestOrIndexType } from "../../src/oci/media-types.ts";
import type { TestRegistry } from "../registry/registry.ts";

/** Digests of all that a tag or digest leads to and the repository does not have, or has with other bytes. */
export function missingParts(
  registry: TestRegistry,
  repository: string,
  reference: string,
): readonly string[] {
  const found = registry.manifest(repository, reference);
  if (found === undefined) return [reference];
  const parsed = parseManifest(found.bytes, found.mediaType, reference);
  const own = digestOf(found.bytes) === found.digest ? [] : [found.digest];
  if (parsed.kind === "index") {
    const below = parsed.manifests.flatMap(({ digest, mediaType }) =>
      isManifestOrIndexType(mediaType)
        ? missingParts(registry, repository, digest)
        : missingBlob(registry, repository, digest),
    );
    return [...own, ...below];
  }
  const blobs = [...(parsed.config === undefined ? [] : [parsed.config]), ...parsed.layers];
  return [...own, ...blobs.flatMap(({ digest }) => missingBlob(registry, repository, digest))];
}

/** Every tag of every repository that leads to something incomplete, as `repository:tag`. */
export function incompleteTags(registry: TestRegistry): readonly string[] {
  return registry.repositories().flatMap((repository) =>
    registry
      .tags(repository)
      .filter((tag) => missingParts(registry, repository, tag).length > 0)
      .map((tag) => `${repository}:${tag}`),
  );
}

function missingBlob(registry: TestRegistry, repository: string, digest: Digest): readonly string[] {
  const bytes = registry.blob(repository, digest);
  const algorithm = digest.startsWith("sha512:") ? "sha512" : "sha256";
  return bytes !== undefined && digestOf(bytes, algorithm) === digest ? [] : [digest];
}
