/** What earlier pulls have left that a new one need not fetch: an unfinished part, and bundles. */
import { realpath } from "node:fs/promises";
import type { Bundle } from "../bundle/bundle.ts";
import { manifestsOf, PartManifests } from "../bundle/kept-manifests.ts";
import { openBundle } from "../bundle/open.ts";
import { BundleReader } from "../bundle/reader.ts";
import { existingPath } from "../bundle/volumes/names.ts";
import type { ManifestCache } from "../content/known-manifests.ts";
import { isAppError, toAppError } from "../errors.ts";
import type { Emit } from "../sync/events.ts";

export interface ReuseOptions {
  /** The bundle to write, and the size of its volumes (bytes) if it is to be in several. */
  readonly path: string;
  readonly volumeBytes?: number | undefined;
  /** Bundles, and archives of other tools, that the user names. */
  readonly reuse: readonly string[];
  /** Nothing but what the user names is taken over. */
  readonly fresh: boolean;
  readonly emit: Emit;
}

/** What is there. Dispose of it with `await using`. */
export class Reuse implements AsyncDisposable {
  readonly #part: PartManifests | undefined;
  /** The bundle that has the name already. */
  readonly existing: BundleReader | undefined;
  /** Bundles to take content from, the one that has the name already among them. */
  readonly bundles: readonly Bundle[];

  private constructor(
    part: PartManifests | undefined,
    existing: BundleReader | undefined,
    named: readonly Bundle[],
  ) {
    this.#part = part;
    this.existing = existing;
    this.bundles = [...(existing === undefined ? [] : [existing]), ...named];
  }

  /**
   * Opens all of it. Throws NOT_FOUND, DISK, BUNDLE or INTEGRITY for a bundle or an archive that the user names; BUNDLE
   * for a compressed one too.
   */
  static async open({ path, volumeBytes, reuse, fresh, emit }: ReuseOptions): Promise<Reuse> {
    const opened: Bundle[] = [];
    try {
      const place = await realpath(path).catch(() => path);
      for (const name of new Set(reuse)) {
        // It is looked into anyway.
        if (!fresh && (await realpath(name).catch(() => name)) === place) continue;
        opened.push(await openBundle(name, { asWhole: true, allowMissing: true, anyOrder: true }));
      }
      const existing = fresh ? undefined : await openExisting(await existingPath(path, volumeBytes), emit);
      const part = fresh ? undefined : await PartManifests.open({ path, volumeBytes });
      return new Reuse(part, existing, opened);
    } catch (error) {
      for (const bundle of opened) await bundle[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where to look for manifests; empty if there is nothing. */
  get manifests(): readonly ManifestCache[] {
    return [...(this.#part === undefined ? [] : [this.#part]), ...this.bundles.map(manifestsOf)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#part?.[Symbol.asyncDispose]();
    for (const bundle of this.bundles) await bundle[Symbol.asyncDispose]();
  }
}

/** The bundle that is to be replaced; undefined if there is none. What cannot be read is replaced all the same. */
async function openExisting(path: string, emit: Emit): Promise<BundleReader | undefined> {
  try {
    return await BundleReader.open(path);
  } catch (error) {
    if (isAppError(error, "NOT_FOUND")) return undefined;
    const { message } = toAppError(error);
    emit({ type: "note", message: `nothing is taken over from the ${path} that is there: ${message}` });
    return undefined;
  }
}
