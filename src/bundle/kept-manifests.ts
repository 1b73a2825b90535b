/** The manifests in what earlier runs have left: an unfinished part, or bundles. Whatever is wrong with them, the rest is fetched. */
import type { ManifestCache } from "../content/known-manifests.ts";
import { readAll } from "../content/verify.ts";
import type { Digest } from "../oci/digest.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import type { Bundle } from "./bundle.ts";
import type { Claim } from "./claims.ts";
import { readFileRange } from "./file-range.ts";
import { readJournal } from "./journal-lines.ts";
import { openPartToRead, type PartShape } from "./part-file.ts";
import { journalPath } from "./part-place.ts";
import type { PositionalReader } from "./positional-file.ts";

/** The manifests of the unfinished part of a bundle, as they stood when it was opened. */
export class PartManifests implements ManifestCache, AsyncDisposable {
  readonly #file: PositionalReader;
  readonly #claims: ReadonlyMap<Digest, Claim>;

  private constructor(file: PositionalReader, claims: ReadonlyMap<Digest, Claim>) {
    this.#file = file;
    this.#claims = claims;
  }

  /** Undefined if there is no part with a journal. */
  static async open(shape: PartShape): Promise<PartManifests | undefined> {
    try {
      const { claims } = await readJournal(journalPath(shape.path));
      return claims.size === 0 ? undefined : new PartManifests(await openPartToRead(shape), claims);
    } catch {
      // Whoever goes on with the part says what is wrong with it.
      return undefined;
    }
  }

  async find(digest: Digest): Promise<Uint8Array | undefined> {
    const claim = this.#claims.get(digest);
    if (claim === undefined) return undefined;
    const content = readFileRange(this.#file, claim.at, claim.got, "the unfinished bundle");
    return await readAll(content, { mediaType: "", digest, size: claim.got }, maxManifestBytes).catch(
      () => undefined,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** The manifests of a bundle. */
export function manifestsOf(bundle: Pick<Bundle, "has" | "manifest">): ManifestCache {
  return {
    find: async (digest) => {
      if (!bundle.has(digest)) return undefined;
      return await bundle.manifest(digest).then(
        ({ bytes }) => bytes,
        () => undefined,
      );
    },
  };
}
