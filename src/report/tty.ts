/**
 * The view for terminals: a block of bars that is redrawn in place, and above it the lines that stay. The
 * cursor is never hidden and no mode stays set between two writes, so that nothing is left broken by a crash.
 */
import type { Totals, TransferEvent } from "../sync/events.ts";
import { displayWidth } from "./format.ts";
import { frame, type Line } from "./frame.ts";
import { type Message, Messages, verbForms } from "./messages.ts";
import { Progress } from "./progress.ts";
import { formatSummary } from "./summary.ts";
import {
  type Environment,
  isUnicode,
  type Paint,
  painter,
  type Style,
  sizeOf,
  type Terminal,
} from "./terminal.ts";

/** Ten frames a second: fluent to the eye, and nothing to a terminal at the far end of a slow line. */
const frameMs = 100;
/** Synchronized update: terminals that know it show the frame as a whole, the others ignore it. */
const beginUpdate = "\x1b[?2026h";
const endUpdate = "\x1b[?2026l";
const eraseLineEnd = "\x1b[K";

const styles: Readonly<Record<Message["level"], Style>> = {
  done: "green",
  unchanged: "dim",
  retry: "yellow",
  warning: "yellow",
  note: "dim",
  failed: "red",
  debug: "dim",
};

export interface LiveOptions {
  readonly stream: Terminal;
  readonly env: Environment;
  readonly now: () => number;
  readonly verb: string;
}

/**
 * Draws on a timer that never keeps the process alive. Lines that stay are written with the next frame, or by
 * `finish` and dispose: one of the two must be called before the process exits.
 */
export class LiveReporter implements Disposable {
  readonly #stream: Terminal;
  readonly #verb: string;
  readonly #present: string;
  readonly #paint: Paint;
  readonly #unicode: boolean;
  readonly #messages: Messages;
  readonly #progress: Progress;
  readonly #timer: NodeJS.Timeout;
  #isOpen = true;
  #pending: string[] = [];
  /** The lines that stand on the terminal, by their widths in cells. */
  #drawn: readonly number[] = [];
  #lastBlock = "";

  constructor(options: LiveOptions) {
    this.#stream = options.stream;
    this.#verb = options.verb;
    this.#present = verbForms(options.verb).present;
    this.#paint = painter(options.stream, options.env);
    this.#unicode = isUnicode(options.env);
    this.#messages = new Messages(options.verb);
    this.#progress = new Progress(options.now);
    this.#timer = setInterval(() => this.#tick(), frameMs).unref();
  }

  on(event: TransferEvent): void {
    this.#progress.on(event);
    const message = this.#messages.of(event);
    if (message === undefined) return;
    this.#pending.push(this.#lineOf(message));
    if (!this.#isOpen) this.#write([]);
  }

  finish(totals: Totals, headline: string): void {
    const [first = "", ...rest] = formatSummary(totals, headline, this.#verb).split("\n");
    this.#pending.push([this.#paint(totals.failedImages > 0 ? "red" : "green", first), ...rest].join("\n"));
    this.#close();
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  #close(): void {
    this.#isOpen = false;
    clearInterval(this.#timer);
    this.#write([]);
  }

  #tick(): void {
    // A terminal that does not keep up gets fewer frames, not a queue of old ones.
    if (this.#stream.writableNeedDrain) return;
    const { columns, rows } = sizeOf(this.#stream);
    // One column stays free because a full line wraps on some terminals, one row for the cursor below the
    // block, and one more so that the last line that stays remains in sight.
    const room = { cells: Math.max(1, columns - 1), lines: Math.max(1, rows - 2), unicode: this.#unicode };
    this.#write(frame(this.#progress.snapshot(), this.#present, room));
  }

  /** One write: the pending lines, and the block below them in place of the one that stands there. */
  #write(lines: readonly Line[]): void {
    const block = lines.map((line) => `${this.#style(line)}${eraseLineEnd}\n`).join("");
    if (this.#pending.length === 0 && block === this.#lastBlock) return;
    const up = this.#drawnRows();
    const toTop = up === 0 ? "" : `\x1b[${up}A\r`;
    // Lines that stay may wrap, so the old block has to go before they come; without them each line of the
    // block overwrites its predecessor, which is what does not flicker even without synchronized updates.
    // Rows are deleted because tmux puts a copy into its history when all below the top is erased instead.
    const stay = this.#pending.map((text) => `${text}\n`).join("");
    const frameText =
      stay === "" ? block + deleteRows(up - lines.length) : `${deleteRows(up)}${stay}${block}`;
    this.#stream.write(`${beginUpdate}${toTop}${frameText}${eraseLineEnd}${endUpdate}`);
    this.#pending = [];
    this.#lastBlock = block;
    this.#drawn = lines.map((line) => displayWidth(line.map((piece) => piece.text).join("")));
  }

  /** The rows that the block takes now: a terminal that became narrower has wrapped the lines it showed. */
  #drawnRows(): number {
    const { columns } = sizeOf(this.#stream);
    return this.#drawn.reduce((rows, cells) => rows + Math.max(1, Math.ceil(cells / columns)), 0);
  }

  #style(line: Line): string {
    return line.map(({ text, style }) => (style === undefined ? text : this.#paint(style, text))).join("");
  }

  #lineOf(message: Message): string {
    const line = `${this.#paint(styles[message.level], message.label)} ${message.text}`;
    if (message.extra === undefined) return line;
    const fits = displayWidth(line) + 1 + displayWidth(message.extra) < sizeOf(this.#stream).columns;
    return fits ? `${line} ${this.#paint("dim", message.extra)}` : line;
  }
}

function deleteRows(count: number): string {
  return count <= 0 ? "" : `\x1b[${count}M`;
}
