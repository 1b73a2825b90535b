/** The bundles that a delta leans on, to be read with it. */

import type { Bundle } from "../bundle/bundle.ts";
import { openBundle } from "../bundle/open.ts";
import { looksLikeReceipt } from "../bundle/read-receipt.ts";
import { AppError } from "../errors.ts";

/** Open bundles. Dispose of them with `await using`. */
export class BaseBundles implements AsyncDisposable {
  readonly bundles: readonly Bundle[];

  private constructor(bundles: readonly Bundle[]) {
    this.bundles = bundles;
  }

  /** Throws NOT_FOUND, DISK, BUNDLE or INTEGRITY for one that cannot be read, USAGE for a receipt. */
  static async open(paths: readonly string[]): Promise<BaseBundles> {
    const bundles: Bundle[] = [];
    try {
      for (const path of new Set(paths)) {
        if (await looksLikeReceipt(path))
          throw new AppError(
            "USAGE",
            `Cannot verify against ${path}: it is a receipt, which holds no content`,
            {
              hint: "ask the registry that it is about: --registry HOST",
            },
          );
        bundles.push(await openBundle(path, { asWhole: true, allowMissing: true }));
      }
      return new BaseBundles(bundles);
    } catch (error) {
      for (const bundle of bundles) await bundle[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const bundle of this.bundles) await bundle[Symbol.asyncDispose]();
  }
}
