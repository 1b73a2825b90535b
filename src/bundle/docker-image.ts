/** What Docker's `manifest.json` can offer of an image: one platform, since it knows no more. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { isImageConfigType, isImageLayerType, isZstdLayerType } from "../oci/media-types.ts";
import { isUnknownPlatform, matchesPlatform, type Platform } from "../oci/platform.ts";
import type { DockerImage } from "./metadata.ts";

/** The platform that `docker load` is offered where nobody chose one. */
const preferred: Platform = { os: "linux", architecture: "amd64" };

/** `artifact`: nothing of it can be run. `lacking`: it can be, but not on the platform that is offered. */
export type DockerOffer =
  | { readonly kind: "image"; readonly image: DockerImage }
  | { readonly kind: "lacking"; readonly has: readonly Platform[] }
  | { readonly kind: "artifact" };

/** The top of an image, with its platform where it has no index that says it, and somebody knows. */
export interface DockerRoot {
  readonly root: Descriptor;
  readonly runsOn?: Platform | undefined;
}

/** One platform of an image; nobody may know which. */
interface Candidate {
  readonly platform: Platform | undefined;
  readonly image: DockerImage;
}

/**
 * Config and layers of the platform that Docker is offered. With `wanted` it is that one or none, since an image that
 * Docker loads under the name and cannot start is worse than one that is not there. Otherwise linux/amd64, or else the
 * first for Linux. `bytesOf` gives a manifest by digest.
 */
export function dockerOffer(
  { root, runsOn }: DockerRoot,
  bytesOf: (digest: Digest) => Uint8Array | undefined,
  wanted?: Platform,
): DockerOffer {
  const candidates = candidatesOf(
    { ...root, ...(runsOn === undefined ? {} : { platform: runsOn }) },
    bytesOf,
  );
  if (candidates.length === 0) return { kind: "artifact" };
  const chosen = choose(candidates, wanted);
  if (chosen !== undefined) return { kind: "image", image: chosen.image };
  return { kind: "lacking", has: candidates.flatMap(({ platform }) => platform ?? []) };
}

function choose(candidates: readonly Candidate[], wanted: Platform | undefined): Candidate | undefined {
  const on = (want: Platform): Candidate | undefined =>
    candidates.find(({ platform }) => platform !== undefined && matchesPlatform(platform, want));
  if (wanted === undefined)
    return (
      on(preferred) ?? candidates.find(({ platform }) => platform === undefined || platform.os === "linux")
    );
  const [only, ...others] = candidates;
  return on(wanted) ?? (only?.platform === undefined && others.length === 0 ? only : undefined);
}

/** What can be run of an image, in the order of its indexes: no attestations, signatures or charts. */
function candidatesOf(
  descriptor: Descriptor,
  bytesOf: (digest: Digest) => Uint8Array | undefined,
): readonly Candidate[] {
  const bytes = bytesOf(descriptor.digest);
  if (bytes === undefined) return [];
  const parsed = parseManifest(bytes, descriptor.mediaType, descriptor.digest);
  if (parsed.kind === "index") return parsed.manifests.flatMap((child) => candidatesOf(child, bytesOf));
  const { config, layers } = parsed;
  // Signatures of cosign, for one, have the config of an image, and layers that Docker would stop at.
  if (config === undefined || !isImageConfigType(config.mediaType)) return [];
  if (!layers.every(({ mediaType }) => isImageLayerType(mediaType))) return [];
  const { platform } = descriptor;
  if (platform !== undefined && isUnknownPlatform(platform)) return [];
  return [
    {
      platform,
      image: {
        config: config.digest,
        layers: layers.map(({ digest }) => digest),
        ...(layers.some(({ mediaType }) => isZstdLayerType(mediaType)) ? { zstd: true } : {}),
      },
    },
  ];
}
