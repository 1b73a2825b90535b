/** Figures, tables and errors as text for people. Pure functions; nothing here knows a stream. */
import { stripVTControlCharacters } from "node:util";
import type { AppError } from "../errors.ts";

const byteUnits = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

/** A number of bytes in binary units with one decimal: `512 B`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const whole = Math.round(bytes);
  if (whole < 1024) return `${whole} B`;
  let value = whole / 1024;
  let unit = 0;
  // Compares what will be printed, so that 1,048,575 bytes are 1.0 MiB and never 1024.0 KiB.
  while (Math.round(value * 10) / 10 >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${byteUnits[unit] ?? ""}`;
}

/** A rate in bytes per second: `98.1 MiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/**
 * A time in seconds by its two largest units: `3.4 s`, `17 s`, `3 min 20 s`, `2 h 5 min`, `1 d 3 h`. Tenths
 * stand only under a minute and only where there are any; a second unit of zero is left out.
 */
export function formatDuration(seconds: number): string {
  const tenths = Math.round(seconds * 10) / 10;
  if (tenths < 60) return `${Number.isInteger(tenths) ? tenths : tenths.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(seconds / 3600);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(first: number, firstUnit: string, second: number, secondUnit: string): string {
  return second === 0 ? `${first} ${firstUnit}` : `${first} ${firstUnit} ${second} ${secondUnit}`;
}

/** A count with its noun: `1 image`, `2 images`. `many` is the plural where it does not end in a plain s. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

// C0, DEL, C1, line and paragraph separators, and the marks that reorder text on the screen (Trojan Source).
const unsafePattern =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/**
 * Text of a foreign origin made safe for a terminal and for a line of a log: control characters, and with them
 * every ANSI escape, become visible as `\xNN`, marks that reorder text as `\uNNNN`. Line ends are escaped too.
 */
export function escapeControl(text: string): string {
  return text.replace(unsafePattern, (character) => {
    const hex = character.charCodeAt(0).toString(16).toUpperCase();
    return hex.length <= 2 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`;
  });
}

/**
 * An error as lines without a final line end: the message, then `  hint: …` if it has one. Further lines of a
 * message get a bar in front, so that text from a server cannot pass for a line of ours.
 */
export function formatError(error: AppError): string {
  return withHint(error.message, error.hint);
}

/** A message with its hint on a line of its own; see {@link formatError}. */
export function withHint(message: string, hint: string | undefined): string {
  const text = message.trimEnd().split("\n").map(escapeControl).join("\n  | ");
  return hint === undefined ? text : `${text}\n  hint: ${escapeControl(hint)}`;
}

const zeroWidth = /^[\p{M}\p{Cf}]$/u;
const doubleWidth =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}])$/u;

/** The terminal cells that a text takes; ANSI escapes take none. Exact for Latin, near enough for the rest. */
export function displayWidth(text: string): number {
  let cells = 0;
  for (const character of stripVTControlCharacters(text)) cells += cellsOf(character);
  return cells;
}

/** The text up to at most `cells` terminal cells. It must hold no ANSI escapes. */
export function cutToWidth(text: string, cells: number): string {
  let used = 0;
  let end = 0;
  for (const character of text) {
    used += cellsOf(character);
    if (used > cells) return text.slice(0, end);
    end += character.length;
  }
  return text;
}

function cellsOf(character: string): number {
  if (character >= " " && character <= "~") return 1;
  if (zeroWidth.test(character)) return 0;
  return doubleWidth.test(character) ? 2 : 1;
}

export type Align = "left" | "right";

export interface TableOptions {
  /** Alignment by column; left where it is left out. */
  readonly align?: readonly Align[];
}

/**
 * Rows as aligned columns, two spaces apart, without trailing spaces and without a final line end. A header is
 * simply the first row; rows may differ in length. Cells are escaped. No rows give an empty text.
 */
export function table(rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const cells = rows.map((row) => row.map(escapeControl));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, displayWidth(cell));
    }
  }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => {
        const gap = " ".repeat((widths[column] ?? 0) - displayWidth(cell));
        return options.align?.[column] === "right" ? gap + cell : cell + gap;
      })
      .join("  ")
      .trimEnd();
  return cells.map(line).join("\n");
}
