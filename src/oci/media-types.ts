/** Media types of image-spec and of Docker's schema 2, and the questions we ask of them. */

export const mediaTypes = {
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociArtifact: "application/vnd.oci.artifact.manifest.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociEmpty: "application/vnd.oci.empty.v1+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerSchema1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
} as const;

const indexTypes: ReadonlySet<string> = new Set([mediaTypes.ociIndex, mediaTypes.dockerList]);
const manifestTypes: ReadonlySet<string> = new Set([
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
  mediaTypes.ociArtifact,
]);
const configTypes: ReadonlySet<string> = new Set([mediaTypes.ociConfig, mediaTypes.dockerConfig]);
const layerPrefixes = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."] as const;

/**
 * The Accept header for every manifest request, as one line without q-values: some servers take the first type
 * they can serve, and GCR misreads parameters. distribution 2.8 answers 404 where the stored type is not listed.
 */
export const manifestAccept = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
  mediaTypes.ociArtifact,
  "*/*",
].join(", ");

/** True for an OCI image index or a Docker manifest list. */
export function isIndexType(mediaType: string): boolean {
  return indexTypes.has(mediaType);
}

/** True for a single image or artifact manifest. */
export function isManifestType(mediaType: string): boolean {
  return manifestTypes.has(mediaType);
}

/** True for what a registry keeps under `/manifests/`. */
export function isManifestOrIndexType(mediaType: string): boolean {
  return indexTypes.has(mediaType) || manifestTypes.has(mediaType);
}

/** True for Docker's schema 1, which no current registry takes. */
export function isSchema1Type(mediaType: string): boolean {
  return mediaType === mediaTypes.dockerSchema1 || mediaType === mediaTypes.dockerSchema1Signed;
}

/** True for the config of a runnable image (not of a chart or another artifact). */
export function isImageConfigType(mediaType: string): boolean {
  return configTypes.has(mediaType);
}

/** True for a layer that container runtimes unpack: a tar, compressed or not. Encrypted ones are none. */
export function isImageLayerType(mediaType: string): boolean {
  return layerPrefixes.some((prefix) => mediaType.startsWith(prefix)) && !mediaType.includes("encrypted");
}

/** True for a layer in zstd, which Docker takes from version 23 on. */
export function isZstdLayerType(mediaType: string): boolean {
  return isImageLayerType(mediaType) && mediaType.endsWith("zstd");
}

/** True for a layer that its licence keeps out of registries (image-spec layer.md "Non-Distributable Layers"). */
export function isForeignLayerType(mediaType: string): boolean {
  return mediaType.includes(".nondistributable.") || mediaType.includes(".foreign.");
}

/** A Content-Type header without its parameters, in lower case. */
export function bareMediaType(contentType: string): string {
  return (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
}
