/** An image's description as a person reads it. */
import { escapeControl, formatBytes, plural, table } from "../report/format.ts";
import type { ImageDescription, ManifestDescription, ReferrerDescription } from "../sync/describe.ts";

/** Name, digest and size of the image, then each manifest with its layers. */
export function formatDescription(image: ImageDescription): string {
  const head = table([
    ["image", escapeControl(image.image)],
    ["digest", image.digest],
    ["type", escapeControl(image.mediaType)],
    ["size", `${formatBytes(image.size)} in ${plural(image.manifests.length, "manifest")}`],
  ]);
  const referrers = image.referrers ?? [];
  const about = referrers.length === 0 ? [] : [formatReferrers(referrers)];
  const missing = (image.missing ?? []).map(({ platform, digest }) => ["missing", platform ?? "", digest]);
  const lost = missing.length === 0 ? [] : [table(missing)];
  return [head, ...image.manifests.map(formatManifest), ...lost, ...about].join("\n\n");
}

/** Signatures, SBOMs and the like: what each says it is, and the tag where it was found by one. */
function formatReferrers(referrers: readonly ReferrerDescription[]): string {
  const rows = referrers.map(({ artifactType, tag, digest, size }) => [
    "  referrer",
    digest,
    formatBytes(size),
    escapeControl(artifactType ?? (tag === undefined ? "unknown type" : cosignKind(tag))),
  ]);
  const align = ["left", "left", "right", "left"] as const;
  return `referred to by ${plural(referrers.length, "artifact")}\n${table(rows, { align })}`;
}

/** What cosign keeps under a tag with this ending. */
function cosignKind(tag: string): string {
  const ending = tag.slice(tag.lastIndexOf(".") + 1);
  const kinds: Readonly<Record<string, string>> = { sig: "signatures", att: "attestations", sbom: "SBOM" };
  return `cosign ${kinds[ending] ?? "artifact"} (.${ending})`;
}

function formatManifest(manifest: ManifestDescription): string {
  const what =
    manifest.platform ??
    (manifest.attests === undefined
      ? (manifest.artifactType ?? "unknown platform")
      : `attestation of ${manifest.attests}`);
  const created = manifest.created === undefined ? "" : `, built ${manifest.created}`;
  const title = escapeControl(`${what}: ${formatBytes(manifest.size)}${created}`);
  const rows = [
    ["  manifest", manifest.digest, "", escapeControl(manifest.mediaType)],
    ...(manifest.config === undefined
      ? []
      : [
          [
            "  config",
            manifest.config.digest,
            formatBytes(manifest.config.size),
            escapeControl(manifest.config.mediaType),
          ],
        ]),
    ...manifest.layers.map((layer) => [
      "  layer",
      layer.digest,
      formatBytes(layer.size),
      escapeControl(layer.mediaType),
    ]),
  ];
  return `${title}\n${table(rows, { align: ["left", "left", "right", "left"] })}`;
}
