/** The benchmark's figures as a table. */
import type { Task } from "./contenders.ts";
import type { Figures } from "./measure.ts";

/** All good runs of one tool at one task. */
export interface Series {
  readonly profile: string;
  readonly task: Task;
  readonly name: string;
  readonly isPeer: boolean;
  readonly runs: readonly Figures[];
  readonly failures: number;
}

interface Column {
  readonly title: string;
  readonly of: (figures: Figures) => number;
  readonly format: (value: number) => string;
}

const megabytes = (value: number): string => `${(value / 1e6).toFixed(0)} MB`;
const seconds = (value: number): string => `${value.toFixed(2)} s`;

const columns: readonly Column[] = [
  { title: "wall", of: ({ wallSeconds }) => wallSeconds, format: seconds },
  { title: "cpu", of: ({ cpuSeconds }) => cpuSeconds, format: seconds },
  { title: "peak memory", of: ({ peakMemory }) => peakMemory, format: megabytes },
  { title: "peak disk", of: ({ peakDisk }) => peakDisk, format: megabytes },
];

/** The middle value; the mean of the two middle ones of an even number. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** `0.48x`: a value beside the best peer's; empty where there is nothing to compare. */
function ratio(value: number, best: number): string {
  return Number.isFinite(value) && Number.isFinite(best) && best > 0 ? `${(value / best).toFixed(2)}x` : "";
}

/** The rows of one task. Each figure is a median; behind it, its ratio to the best peer's. */
function rows(series: readonly Series[]): readonly (readonly string[])[] {
  const medians = series.map(({ runs }) => columns.map((column) => median(runs.map(column.of))));
  const best = columns.map((_, column) =>
    Math.min(
      ...medians.flatMap((row, index) => {
        const value = row[column];
        return series[index]?.isPeer === true && value !== undefined && !Number.isNaN(value) ? [value] : [];
      }),
    ),
  );
  return series.map(({ name, runs, failures }, index) => {
    const walls = runs.map(({ wallSeconds }) => wallSeconds);
    const cells = columns.map((column, position) => {
      const value = medians[index]?.[position] ?? Number.NaN;
      if (Number.isNaN(value)) return "-";
      return `${column.format(value)} ${ratio(value, best[position] ?? Number.NaN)}`.trim();
    });
    const range =
      runs.length === 0 ? "-" : `${Math.min(...walls).toFixed(2)}-${Math.max(...walls).toFixed(2)}`;
    return [name, ...cells, range, `${runs.length}${failures === 0 ? "" : `, ${failures} failed`}`];
  });
}

/** A Markdown table for each profile and task. */
export function formatReport(all: readonly Series[]): string {
  const header = ["tool", ...columns.map(({ title }) => title), "wall min-max", "runs"];
  const groups = Map.groupBy(all, ({ profile, task }) => `${profile}: ${task}`);
  const blocks = [...groups].map(([title, series]) => {
    const table = [header, ...rows(series)];
    const widths = header.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
    const line = (row: readonly string[]): string =>
      `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
    const [head = [], ...body] = table;
    const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
    return [`### ${title}`, "", line(head), rule, ...body.map(line)].join("\n");
  });
  return `${blocks.join("\n\n")}\n\nMedians; behind them the ratio to the best peer's figure (below 1 is better).\n`;
}
