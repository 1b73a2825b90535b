/** What the parts of `npm run torture` have in common: rows of a table, and whether a bound was broken. */

/** One row. */
export interface Row {
  readonly what: string;
  /** Column to text. */
  readonly figures: Readonly<Record<string, string>>;
  /** What is wrong; empty if every bound held. */
  readonly problems: readonly string[];
}

/** What every part is told. */
export interface TortureOptions {
  /** docker-registry. */
  readonly program: string;
  /** A folder on a disk, for everything. */
  readonly work: string;
  readonly seed: number;
  /** How many kills in all. */
  readonly kills: number;
  /** How many of them strike one pull, push or sync before it may end. */
  readonly killsEach: number;
  /** Size of the list, in bytes. */
  readonly size: number;
  /** Tells how far it has come. */
  readonly say: (line: string) => void;
}

const megabyte = 1_000_000;

/** `12.3 MB` */
export function inMegabytes(bytes: number): string {
  return `${(bytes / megabyte).toFixed(1)} MB`;
}

/** What a program said at the end. */
export function lastWords({ stderr }: { readonly stderr: string }): string {
  return stderr.trimEnd().split("\n").slice(-3).join(" | ");
}

/** The rows with the same columns as one table. */
export function formatRows(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap(({ figures }) => Object.keys(figures)))];
  const lines = [
    ["", ...columns, "bounds"],
    ...rows.map(({ what, figures, problems }) => [
      what,
      ...columns.map((column) => figures[column] ?? ""),
      problems.length === 0 ? "held" : "BROKEN",
    ]),
  ];
  const widths =
    lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
