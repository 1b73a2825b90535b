/** What a delta leans on, in figures and in words. */
import { type BaseSource, type BundleBase, sourceName } from "../bundle/delta.ts";
import { formatBytes, plural } from "../report/format.ts";
import type { Session } from "./session.ts";

/** What `--json` says of the base of a delta. Sizes in bytes. */
export interface BaseFigures {
  /** Who has what the delta leaves out. */
  readonly sources: readonly BaseSource[];
  /** Distinct blobs that are left out. */
  readonly blobs: number;
  readonly bytes: number;
}

/** Adds up what a delta leans on. */
export function baseFigures({ sources, blobs }: BundleBase): BaseFigures {
  return { sources, blobs: blobs.length, bytes: blobs.reduce((sum, { size }) => sum + size, 0) };
}

/** `it leans on 410 blobs (12.0 GiB) of october.tar`. */
export function leansOn(base: BundleBase): string {
  return `it leans on ${heldBy(baseFigures(base))}`;
}

/** `410 blobs (12.0 GiB) of october.tar`. */
export function heldBy({ sources, blobs, bytes }: BaseFigures): string {
  return `${plural(blobs, "blob")} (${formatBytes(bytes)}) of ${namesOf(sources)}`;
}

/** One line about what was left out of a bundle, and whose it is. `asked`: the bases that were named. */
export function tellBase(
  name: string,
  { base, asked }: { readonly base: BundleBase | undefined; readonly asked: readonly string[] },
  session: Pick<Session, "note">,
): void {
  if (base !== undefined) session.note(`${name} is a delta: ${leansOn(base)}`);
  else if (asked.length > 0) session.note(`${name} is whole: ${asked.join(", ")} has nothing of it`);
}

/** The sources as people read them: `october.tar, november.tar and 3 others`. */
function namesOf(sources: readonly BaseSource[]): string {
  const shown = sources.slice(0, 3).map(sourceName).join(", ");
  return sources.length <= 3 ? shown : `${shown} and ${plural(sources.length - 3, "other")}`;
}
