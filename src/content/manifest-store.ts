/** The manifests of a run: read once, needed several times, kept as the bytes that came. */
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { BlobSource, RawManifest } from "./content.ts";
import { once } from "./once.ts";

/** Manifests by digest. */
export class ManifestStore {
  readonly #bytes = new Map<Digest, Uint8Array>();

  /** Keeps a manifest whose digest has been proved. */
  put(manifest: RawManifest): void {
    this.#bytes.set(manifest.descriptor.digest, manifest.bytes);
  }

  has(digest: Digest): boolean {
    return this.#bytes.has(digest);
  }

  /** The bytes of a manifest that was put in before; INTERNAL if it was not. */
  get(digest: Digest): Uint8Array {
    const bytes = this.#bytes.get(digest);
    if (bytes === undefined) throw new AppError("INTERNAL", `the manifest ${digest} was never read`);
    return bytes;
  }

  /** A manifest as content to push. */
  source(descriptor: Descriptor): BlobSource {
    const bytes = this.get(descriptor.digest);
    return {
      descriptor,
      isManifest: true,
      open: async (offset) => once(bytes.subarray(offset)),
    };
  }
}
