/** What Docker's `manifest.json` can offer of an image: one platform, since it knows no more. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { isImageConfigType } from "../oci/media-types.ts";
import { matchesPlatform, type Platform } from "../oci/platform.ts";
import type { DockerImage } from "./metadata.ts";

/** The platform that `docker load` is offered where an image has several. */
const preferred: Platform = { os: "linux", architecture: "amd64" };

/**
 * Config and layers of the platform that Docker is offered: linux/amd64, otherwise the first for Linux. Undefined
 * for what Docker cannot run: artifacts, Windows images. `bytesOf` gives a manifest by digest.
 */
export function dockerImage(
  root: Descriptor,
  bytesOf: (digest: Digest) => Uint8Array | undefined,
): DockerImage | undefined {
  const bytes = bytesOf(root.digest);
  if (bytes === undefined) return undefined;
  const parsed = parseManifest(bytes, root.mediaType, root.digest);
  if (parsed.kind === "manifest") {
    if (parsed.config === undefined || !isImageConfigType(parsed.config.mediaType)) return undefined;
    return { config: parsed.config.digest, layers: parsed.layers.map((layer) => layer.digest) };
  }
  const linux = parsed.manifests.filter(
    (child) => child.platform === undefined || child.platform.os === "linux",
  );
  const wanted = linux.filter(
    (child) => child.platform !== undefined && matchesPlatform(child.platform, preferred),
  );
  for (const child of [...wanted, ...linux]) {
    const found = dockerImage(child, bytesOf);
    if (found !== undefined) return found;
  }
  return undefined;
}
