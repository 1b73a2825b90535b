/** What reporters ask of the stream and of the environment: is it live, how large, which colours and letters. */
import { styleText } from "node:util";

/** The part of `process.stderr` that is used. What is optional is missing where it is a file or a pipe. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  readonly writableNeedDrain: boolean;
  write(text: string): boolean;
  getColorDepth?(env?: object): number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export type Style = "green" | "yellow" | "red" | "cyan" | "dim" | "bold";

/** Puts a style around a text, or gives the text back as it is. */
export type Paint = (style: Style, text: string) => string;

/** True where lines can be redrawn: a terminal that is neither dumb nor the log of a CI job. */
export function isLive(stream: Terminal, env: Environment): boolean {
  const ci = env["CI"] ?? "";
  return stream.isTTY === true && env["TERM"] !== "dumb" && (ci === "" || ci === "0" || ci === "false");
}

/** Columns and rows; 80 and 24 where the terminal does not say (some report 0). */
export function sizeOf(stream: Terminal): { readonly columns: number; readonly rows: number } {
  return { columns: stream.columns || 80, rows: stream.rows || 24 };
}

/** The painter of a stream. Node's colour depth knows `NO_COLOR`, `FORCE_COLOR` and `TERM`. */
export function painter(stream: Terminal, env: Environment): Paint {
  const hasColors = stream.isTTY === true && (stream.getColorDepth?.(env) ?? 1) > 2;
  // The check of the stream is done above, against the given environment and not that of the process.
  return hasColors
    ? (style, text) => styleText(style, text, { validateStream: false })
    : (_style, text) => text;
}

/** True if the locale says that the terminal shows UTF-8. */
export function isUnicode(env: Environment): boolean {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return /utf-?8/i.test(locale) || env["WT_SESSION"] !== undefined;
}
