/** Why a registry does not take a manifest, where its answer tells (protocol notes 4.7 and 4.8). */
import { MissingParts } from "../content/missing-parts.ts";
import { AppError, type Side } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { type Parsed, successors } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-types.ts";
import { RegistryError } from "./errors.ts";

const target: Side = "target";
/** 404 and MANIFEST_UNKNOWN: what some say of the children of an index. */
const missingCodes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"] as const;

/**
 * The error for a refused PUT: MissingParts if the registry says that parts are not there, REGISTRY with what it is
 * about for foreign layers and for the old artifact manifests; anything else as it came.
 */
export function manifestRefusal(error: unknown, parsed: Parsed, what: string, registry: string): unknown {
  if (!(error instanceof RegistryError)) return error;
  const { status, problems, details } = error;
  const parts = new Map(successors(parsed).map((part) => [part.digest, part]));
  const digests = problems.flatMap(({ digests: all = [] }) => all).filter((digest) => parts.has(digest));
  const named = [...new Set(digests)];
  const missing = missingCodes.some((code) => error.has(code));
  const isForeign = (digest: Digest): boolean => (parts.get(digest)?.urls?.length ?? 0) > 0;
  const foreign = named.some(isForeign) || (named.length === 0 && [...parts.keys()].some(isForeign));
  if (foreign && missing && (status === 400 || status === 500)) {
    return new AppError(
      "REGISTRY",
      `Cannot ${what}: ${registry} takes no manifest whose layers have URLs (foreign layers, as in Windows images)`,
      {
        hint: "allow their URLs in its configuration (distribution: validation.manifests.urls.allow), or leave the image out",
        side: target,
        cause: error,
        details,
      },
    );
  }
  if (parsed.mediaType === mediaTypes.ociArtifact && (status === 400 || status === 415)) {
    return new AppError(
      "REGISTRY",
      `Cannot ${what}: ${registry} takes no OCI artifact manifests (${mediaTypes.ociArtifact})`,
      {
        hint: "that type was dropped before image-spec 1.1: make the artifact again with a current tool",
        side: target,
        cause: error,
        details,
      },
    );
  }
  if ((status === 400 || status === 404) && (missing || named.length > 0))
    return new MissingParts(error, named);
  return error;
}
