/** The choice of platforms from an index: all of it, one child, or a new index of the children that were chosen. */
import type { RawManifest } from "../content/content.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { digestOf } from "../oci/digest.ts";
import type { ParsedIndex } from "../oci/manifest.ts";
import { formatPlatform, isUnknownPlatform, matchesPlatform, type Platform } from "../oci/platform.ts";

/** What is left of an index. `missing`: wanted platforms that it does not have. */
export type Choice =
  | { readonly kind: "whole"; readonly missing: readonly Platform[] }
  | { readonly kind: "child"; readonly child: Descriptor; readonly missing: readonly Platform[] }
  | { readonly kind: "rewritten"; readonly index: RawManifest; readonly missing: readonly Platform[] };

const attestedDigest = "vnd.docker.reference.digest";

/**
 * Chooses platforms. One wanted platform gives the child itself; several give a new index, valid everywhere but
 * under another digest (a sparse one is refused by most registries). An index that has nothing else stays as it
 * is. Attestations stay with what they attest. Throws NOT_FOUND if none of the wanted platforms is there.
 */
export function choosePlatforms(
  raw: RawManifest,
  parsed: ParsedIndex,
  wanted: readonly Platform[],
  image: string,
): Choice {
  const children = parsed.manifests;
  const runnable = children.filter(
    (child) => child.platform !== undefined && !isUnknownPlatform(child.platform),
  );
  // Without platforms there is nothing to choose by: an index of artifacts, for one.
  if (wanted.length === 0 || runnable.length === 0) return { kind: "whole", missing: [] };
  const matches = (child: Descriptor, want: Platform): boolean =>
    child.platform !== undefined && matchesPlatform(child.platform, want);
  const chosen = runnable.filter((child) => wanted.some((want) => matches(child, want)));
  const missing = wanted.filter((want) => !runnable.some((child) => matches(child, want)));
  if (chosen.length === 0)
    throw noPlatform(
      image,
      wanted,
      runnable.flatMap((child) => child.platform ?? []),
    );
  const digests = new Set<string>(chosen.map((child) => child.digest));
  const stays = (child: Descriptor): boolean =>
    digests.has(child.digest) || digests.has(child.annotations?.[attestedDigest] ?? "");
  if (children.every(stays)) return { kind: "whole", missing };
  const [only] = chosen;
  if (wanted.length === 1 && chosen.length === 1 && only !== undefined)
    return { kind: "child", child: only, missing };
  const index = rewrite(
    raw,
    children.map((child) => (stays(child) ? child : undefined)),
  );
  return { kind: "rewritten", index, missing };
}

/** The error for an image that has none of the wanted platforms. */
export function noPlatform(image: string, wanted: readonly Platform[], have: readonly Platform[]): AppError {
  const names = (platforms: readonly Platform[]): string =>
    [...new Set(platforms.map(formatPlatform))].join(", ");
  return new AppError(
    "NOT_FOUND",
    `Cannot take ${names(wanted)} of ${image}: it has ${names(have) || "no platforms"}`,
    {
      hint: "choose others, by --platform or its platforms in the list, or leave them out to take every platform",
    },
  );
}

/**
 * The index with other children: `now` gives for the digest of each what stands in its place, undefined for one that
 * is gone (and with it what attests it). The very same object if nothing changes.
 */
export function replaceChildren(
  raw: RawManifest,
  parsed: ParsedIndex,
  now: ReadonlyMap<string, Descriptor | undefined>,
): RawManifest {
  const gone = (digest: string): boolean => now.has(digest) && now.get(digest) === undefined;
  const children = parsed.manifests.map((child) =>
    gone(child.annotations?.[attestedDigest] ?? "") ? undefined : now.get(child.digest),
  );
  const same = children.every((child, at) => child?.digest === parsed.manifests[at]?.digest);
  return same ? raw : rewrite(raw, children);
}

/** The index with these children (undefined: left out); every other field, known to us or not, stays as it was. */
function rewrite(raw: RawManifest, children: readonly (Descriptor | undefined)[]): RawManifest {
  const document = JSON.parse(Buffer.from(raw.bytes).toString("utf8")) as { manifests: readonly object[] };
  const manifests = document.manifests.flatMap((entry, at) => {
    const child = children[at];
    return child === undefined ? [] : { ...entry, digest: child.digest, size: child.size };
  });
  const bytes = Buffer.from(JSON.stringify({ ...document, manifests }));
  return {
    bytes,
    descriptor: { mediaType: raw.descriptor.mediaType, digest: digestOf(bytes), size: bytes.byteLength },
  };
}
