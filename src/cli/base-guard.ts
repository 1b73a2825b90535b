/** What a delta leans on must not be replaced by it: nobody could push or prove either of them any more. */
import type { BundleBase } from "../bundle/delta.ts";
import { BundleReader } from "../bundle/reader.ts";
import { filesNamed, filesOf, sameFiles } from "../bundle/same-files.ts";
import { AppError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { namesOf } from "./volume-survey.ts";

const hint = "give the delta another name: --to";

/**
 * Throws USAGE if one of the bases, by whatever name or link, is a file that a bundle which is written to `to` would
 * replace or be mistaken for.
 */
export async function refuseReplacing(to: string, bases: Iterable<string>): Promise<void> {
  const named = await filesNamed(to);
  for (const base of bases) {
    const same = await sameFiles(await filesOf(base), named);
    if (same.length === 0) continue;
    throw new AppError(
      "USAGE",
      `Cannot write ${to}: the delta would replace what it leans on: ${namesOf(same)}`,
      { hint },
    );
  }
}

/** A base that may lean on others itself. */
interface LeaningBase {
  readonly path: string;
  readonly fingerprint: Digest;
  readonly base?: BundleBase | undefined;
}

/** Throws USAGE if what is at `to` is a bundle that one of the bases leans on, and that is no base itself. */
export async function refuseReplacingFurther(to: string, bases: readonly LeaningBase[]): Promise<void> {
  const direct = new Set(bases.map(({ fingerprint }) => fingerprint));
  const users = new Map<Digest, string>();
  for (const { path, base } of bases)
    for (const { kind, fingerprint } of base?.sources ?? [])
      if (kind === "bundle" && !direct.has(fingerprint)) users.set(fingerprint, path);
  if (users.size === 0) return;
  for (const path of await filesNamed(to)) {
    const found = await fingerprintAt(path);
    const user = found === undefined ? undefined : users.get(found);
    if (user === undefined) continue;
    throw new AppError(
      "USAGE",
      `Cannot write ${to}: ${user} leans on the ${to} that is there, and so would the delta`,
      { hint },
    );
  }
}

/** The fingerprint of the bundle there; undefined if there is none that could be read. */
async function fingerprintAt(path: string): Promise<Digest | undefined> {
  try {
    await using bundle = await BundleReader.open(path);
    return bundle.fingerprint;
  } catch {
    return undefined;
  }
}
