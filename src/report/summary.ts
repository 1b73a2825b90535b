/** The last word of a run: what was done, and what it cost. */
import type { RegistryLimit, Totals } from "../sync/events.ts";
import { escapeControl, formatBytes, formatDuration, formatRate, plural, table } from "./format.ts";
import { verbForms } from "./messages.ts";

/**
 * One to three lines and one for each registry that has a limit, parts of zero left out; they fit in 60 columns but for extreme figures:
 *
 *     pulled 2 of 3 images (1 unchanged, 1 failed)
 *       24 blobs moved (1.2 GiB) in 12.4 s, 98.0 MiB/s
 *       skipped 3 (12.0 MiB), mounted 2 (3.0 MiB)
 *
 * `headline` is the sentence in front of the bracket; an empty one gives `pulled 2 of 3 images`, from `verb`.
 */
export function formatSummary(totals: Totals, headline: string, verb: string): string {
  const notes = [
    ...(totals.unchangedImages > 0 ? [`${totals.unchangedImages} unchanged`] : []),
    ...(totals.waitingImages === undefined ? [] : [`${totals.waitingImages} waiting`]),
    ...(totals.failedImages > 0 ? [`${totals.failedImages} failed`] : []),
  ];
  const bracket = notes.length === 0 ? "" : ` (${notes.join(", ")})`;
  const first = (headline === "" ? countedImages(totals, verb) : escapeControl(headline)) + bracket;
  const kept = [
    ...part("skipped", totals.blobsSkipped, totals.bytesSkipped),
    ...part("mounted", totals.blobsMounted, totals.bytesMounted),
    ...part("reused", totals.blobsReused, totals.bytesReused),
  ].join(", ");
  const limits = totals.limits.map((limit) => `\n  ${formatLimit(limit)}`).join("");
  const time = formatDuration(totals.seconds);
  if (totals.blobs === 0) {
    const nothing =
      kept === "" ? `${first} in ${time}` : `${first}\n  nothing had to move in ${time}\n  ${kept}`;
    return nothing + limits;
  }
  const moved = `${plural(totals.blobs, "blob")} moved (${formatBytes(totals.bytesMoved)}) in ${time}`;
  const rate = totals.seconds > 0 ? `, ${formatRate(totals.bytesMoved / totals.seconds)}` : "";
  return `${first}\n  ${moved}${rate}${kept === "" ? "" : `\n  ${kept}`}${limits}`;
}

/** Two of them would fill a line. */
const longDigest = /\b(sha\d+:[0-9a-f]{12})[0-9a-f]{52,}/g;
/** Of so many images, the lines about those that failed are no longer in sight at the end. */
const fewImages = 10;

/**
 * The images that failed, one a line with its reason, as a table without a final line end; empty where all that was
 * said of the images of a run is still in sight.
 *
 *     2 images failed:
 *       docker.io/library/app:1.0    the repository has no such tag
 *       quay.io/team/other:2.1       Cannot read sha256:…: the connection broke
 */
export function formatFailed(
  images: readonly { readonly image: string; readonly error?: { readonly message: string } }[],
): string {
  if (images.length <= fewImages) return "";
  const rows = images.flatMap(({ image, error }) => {
    if (error === undefined) return [];
    const [first = ""] = error.message.split("\n");
    // What could not be found is the image: its name is not said twice.
    const named = first.indexOf(`${image}: `);
    const reason = named < 0 ? first : first.slice(named + image.length + 2);
    return [[` ${image}`, reason.replace(longDigest, "$1…")]];
  });
  return rows.length === 0 ? "" : `${plural(rows.length, "image")} failed:\n${table(rows)}`;
}

/** `docker.io: 76 of 100 requests left, renewed over 6 h`: what the registry last said of its limit. */
export function formatLimit({ registry, limit, remaining, windowSeconds }: RegistryLimit): string {
  const of = limit === undefined ? "" : ` of ${limit}`;
  const left =
    remaining === undefined ? `limit of ${limit ?? 0} requests` : `${remaining}${of} requests left`;
  const window = windowSeconds === undefined ? "" : `, renewed over ${formatDuration(windowSeconds)}`;
  return `${escapeControl(registry)}: ${left}${window}`;
}

function countedImages(totals: Totals, verb: string): string {
  const done = totals.images - totals.failedImages - (totals.waitingImages ?? 0);
  const count = done === totals.images ? "" : `${done} of `;
  return `${verbForms(verb).past} ${count}${plural(totals.images, "image")}`;
}

function part(word: string, count: number, bytes: number): readonly string[] {
  return count === 0 ? [] : [`${word} ${count} (${formatBytes(bytes)})`];
}
