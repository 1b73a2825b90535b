/** An image's description as a person reads it. */
import { escapeControl, formatBytes, plural, table } from "../report/format.ts";
import type { ImageDescription, ManifestDescription } from "../sync/describe.ts";

/** Name, digest and size of the image, then each manifest with its layers. */
export function formatDescription(image: ImageDescription): string {
  const head = table([
    ["image", escapeControl(image.image)],
    ["digest", image.digest],
    ["type", escapeControl(image.mediaType)],
    ["size", `${formatBytes(image.size)} in ${plural(image.manifests.length, "manifest")}`],
  ]);
  return [head, ...image.manifests.map(formatManifest)].join("\n\n");
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
