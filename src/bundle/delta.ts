/**
 * Deltas: bundles that leave out the blobs which something else has brought, or will bring, to the target. They say in
 * `mirror.json` what they lean on.
 */
import { z } from "zod";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { Digest } from "../oci/digest.ts";

/** Where blobs are that were left out: an earlier bundle, or a registry as its receipt has it. */
const BaseSource = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("bundle"),
    /** The name of its file when the delta was made. */
    name: z.string(),
    /** The digest of its `mirror.json`. */
    fingerprint: Digest,
  }),
  z.strictObject({
    kind: z.literal("receipt"),
    name: z.string(),
    /** The digest of the receipt. */
    fingerprint: Digest,
    /** The registry that it is about: `HOST[/PREFIX]`. */
    registry: z.string(),
  }),
]);
export type BaseSource = Readonly<z.infer<typeof BaseSource>>;

const LeanedBlob = z.strictObject({
  digest: Digest,
  size: z.number().int().nonnegative(),
  /** The repositories that need it, as the bundle names them. */
  neededBy: z.array(z.string()),
  heldBy: z.array(
    z.strictObject({
      /** Index in `sources`. */
      source: z.number().int().nonnegative(),
      /**
       * Some repositories that have it there: of a bundle, as it names them; of a receipt, as the registry does.
       */
      repositories: z.array(z.string()),
    }),
  ),
});
export type LeanedBlob = Readonly<z.infer<typeof LeanedBlob>>;

/** What a delta leans on, as its `mirror.json` says it. */
export const BundleBase = z.strictObject({
  sources: z.array(BaseSource).min(1),
  blobs: z.array(LeanedBlob).min(1),
});
export type BundleBase = Readonly<z.infer<typeof BundleBase>>;

/** A bundle of which something may be elsewhere: an optional power, used through {@link baseOf} and {@link leavesOut}. */
export interface Leaning {
  /** What it leans on; undefined for a bundle that is whole. */
  readonly base: BundleBase | undefined;
  /** True for content that is not in it, since it leans on it. */
  leavesOut(part: Pick<Descriptor, "digest" | "size">): boolean;
}

/** What a bundle leans on, if it is a delta. */
export function baseOf(bundle: object): BundleBase | undefined {
  return canLean(bundle) ? bundle.base : undefined;
}

/** True for content that a bundle does not hold, since it is a delta and leans on it. */
export function leavesOut(bundle: object, part: Pick<Descriptor, "digest" | "size">): boolean {
  return canLean(bundle) && bundle.leavesOut(part);
}

function canLean(bundle: object): bundle is Leaning {
  return "leavesOut" in bundle && typeof bundle.leavesOut === "function";
}

/** What people call a source: `october.tar`, or `registry.internal:5000 (by receipt.json)`. */
export function sourceName(source: BaseSource): string {
  return source.kind === "bundle" ? source.name : `${source.registry} (by ${source.name})`;
}

/** What people call the sources that have a blob. */
export function holderNames(base: BundleBase, blob: LeanedBlob): readonly string[] {
  return blob.heldBy.flatMap(({ source }) => {
    const found = base.sources[source];
    return found === undefined ? [] : sourceName(found);
  });
}

/** The error for reading, in a delta, what it leaves out. */
export function leftOutError(path: string, base: BundleBase, blob: LeanedBlob): AppError {
  const holders = holderNames(base, blob).join(", ");
  return new AppError("NOT_FOUND", `Cannot read ${blob.digest} in ${path}: the delta leaves it out`, {
    hint: `${holders} had it: bring that to the target first`,
  });
}
