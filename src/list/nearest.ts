/** Guesses which known word a mistyped one was meant to be. */

/**
 * The known word nearest to `word`, or undefined if none is near. Case, `-` and `_` do not count, so `plain-http`
 * finds `plainHttp`; otherwise one edit in three letters is near, at most two, or three in words that begin alike
 * (`registry` for `registries`).
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const folded = fold(word);
  let best: { readonly word: string; readonly distance: number } | undefined;
  for (const candidate of known) {
    const other = fold(candidate);
    const alike = folded.slice(0, 5) === other.slice(0, 5);
    const limit = alike ? 3 : Math.min(2, Math.floor(folded.length / 3));
    if (Math.abs(other.length - folded.length) > limit) continue;
    const distance = editDistance(folded, other);
    if (distance <= limit && (best === undefined || distance < best.distance))
      best = { word: candidate, distance };
  }
  return best?.word;
}

function fold(word: string): string {
  return word.toLowerCase().replace(/[-_]/g, "");
}

/** Levenshtein distance, one row of the table at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, left] of a.split("").entries()) {
    const next = [index + 1];
    for (const [column, right] of b.split("").entries()) {
      const replaced = (row[column] ?? 0) + (left === right ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
