/** The end of a push whose target lacks what the delta leans on. */
import { type BundleBase, holderNames, type LeanedBlob } from "../bundle/delta.ts";
import { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { formatBytes, plural } from "../report/format.ts";
import type { Lack } from "../sync/leaning.ts";

/** One blob that is missing in one repository. Size in bytes. */
export interface MissingBlob {
  readonly digest: Digest;
  readonly size: number;
  /** The repository of the target that needs it. */
  readonly repository: string;
  readonly images: readonly string[];
  /** The bundles that have it, and the registries that had it. */
  readonly heldBy: readonly string[];
}

/** So many are told one by one on a terminal; the result has them all. */
const shownBlobs = 20;

/** The target lacks blobs that a delta leaves out. Nothing has moved. */
export class LackingBase extends AppError {
  /** All that is missing. */
  readonly missing: readonly MissingBlob[];

  /** `registry`: the target as it was given, `HOST[:PORT][/PREFIX]`. */
  constructor(
    delta: { readonly path: string; readonly base: BundleBase },
    registry: string,
    lacks: readonly Lack[],
    refusal?: AppError,
  ) {
    const leaned = new Map(delta.base.blobs.map((blob) => [blob.digest, blob]));
    const missing = lacks.map((lack) => describe(lack, delta.base, leaned.get(lack.part.digest)));
    const rest = missing.length - shownBlobs;
    const distinct = new Map(missing.map(({ digest, size }) => [digest, size]));
    const bytes = [...distinct.values()].reduce((sum, size) => sum + size, 0);
    const what = `${plural(distinct.size, "blob")} (${formatBytes(bytes)}) that the delta leans on`;
    super(
      "NOT_FOUND",
      [
        `Cannot push ${delta.path}: ${registry} lacks ${what}, and nothing was moved`,
        ...linesOf(missing.slice(0, shownBlobs)),
        ...(rest > 0 ? [`and ${rest} more, all of which --json tells`] : []),
        ...(refusal === undefined ? [] : [`what it refuses to tell counts as missing: ${refusal.message}`]),
      ].join("\n"),
      { hint: hintFor(missing, delta.base, registry), side: "target", cause: refusal },
    );
    this.missing = missing;
  }
}

function describe(lack: Lack, base: BundleBase, blob: LeanedBlob | undefined): MissingBlob {
  return {
    digest: lack.part.digest,
    size: lack.part.size,
    repository: lack.repository,
    images: lack.images,
    heldBy: blob === undefined ? [] : holderNames(base, blob),
  };
}

/** Below each image and repository, what it lacks there. */
function linesOf(missing: readonly MissingBlob[]): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const { digest, size, repository, images, heldBy } of missing) {
    const more = images.length > 1 ? ` and ${plural(images.length - 1, "other image")}` : "";
    const heading = `${images[0] ?? ""}${more} in ${repository}:`;
    const lines = groups.get(heading) ?? [];
    groups.set(heading, lines);
    const had = heldBy.length === 0 ? "" : `, which ${heldBy.join(", ")} had`;
    lines.push(`  ${digest} (${formatBytes(size)})${had}`);
  }
  return [...groups].flatMap(([heading, lines]) => [heading, ...lines]);
}

/** What to bring first: bundles, if any has something of it, in the order of the bases. */
function hintFor(missing: readonly MissingBlob[], { sources }: BundleBase, registry: string): string {
  const wanted = new Set(missing.flatMap(({ heldBy }) => heldBy));
  const bundles = sources.flatMap(({ kind, name }) => (kind === "bundle" && wanted.has(name) ? name : []));
  const [first] = bundles;
  const others = sources.flatMap((source) => (source.kind === "receipt" ? source.registry : []));
  const [other = ""] = others;
  const host = (text: string): string => text.split("/", 1)[0] ?? "";
  if (first === undefined && others.length > 0 && others.every((name) => host(name) !== host(registry)))
    return `the delta was made for ${other}: push it there, or pull again with a new receipt of ${registry}`;
  if (first === undefined)
    return "the registry is not as its receipt says: pull again with a new receipt, or without --base";
  if (bundles.length === 1) return `push what it leans on first: mirror push ${first} --registry ${registry}`;
  return `push what it leans on first: ${bundles.slice(0, 5).join(", ")}${bundles.length > 5 ? " and more" : ""}`;
}
