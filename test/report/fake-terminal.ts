/** A terminal to test reporters on: collects writes and plays them on a small model of a screen. */
import { WriteStream } from "node:tty";
import type { Terminal } from "../../src/report/terminal.ts";

export class FakeTerminal implements Terminal {
  readonly isTTY: boolean;
  readonly writes: string[] = [];
  readonly screen: Screen;
  writableNeedDrain = false;

  constructor(columns = 80, rows = 24, isTTY = true) {
    this.isTTY = isTTY;
    this.screen = new Screen(columns, rows);
  }

  get columns(): number {
    return this.screen.columns;
  }

  get rows(): number {
    return this.screen.rows;
  }

  /** Node's own rules for NO_COLOR and the like, applied to the given environment. */
  getColorDepth(env?: object): number {
    return WriteStream.prototype.getColorDepth.call(this, env);
  }

  write(text: string): boolean {
    this.writes.push(text);
    this.screen.play(text);
    return true;
  }

  /** All that was written. */
  get output(): string {
    return this.writes.join("");
  }
}

/** Cursor moves, erasing, line ends, wrapping and scrolling; any other escape is an error of the test. */
export class Screen {
  columns: number;
  readonly rows: number;
  /** Lines that were too long and went on in the next row. */
  wraps = 0;
  /** Everything from the first line on, scrolled out rows included. */
  #cells: string[][] = [[]];
  #row = 0;
  #column = 0;

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  /** The rows with text, without trailing spaces and without the empty ones at the end. */
  get lines(): readonly string[] {
    const lines = this.#cells.map((row) =>
      Array.from(row, (cell) => cell ?? " ")
        .join("")
        .trimEnd(),
    );
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  get cursor(): { readonly row: number; readonly column: number } {
    return { row: this.#row, column: this.#column };
  }

  play(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escapes are what it reads
    for (const [part] of text.matchAll(/\u001b\[[?0-9;]*[A-Za-z]|./gsu)) {
      if (part.startsWith("\x1b")) this.#escape(part);
      else if (part === "\n") this.#newLine();
      else if (part === "\r") this.#column = 0;
      else if (part < " ") throw new Error(`control character ${JSON.stringify(part)} on the screen`);
      else this.#put(part);
    }
  }

  /** Makes the screen narrower as terminals do: rows that no longer fit are wrapped. */
  narrow(columns: number): void {
    const before = this.#cells;
    this.columns = columns;
    this.#cells = [];
    for (const [index, row] of before.entries()) {
      if (index === this.#row) this.#row = this.#cells.length;
      for (let at = 0; at === 0 || at < row.length; at += columns)
        this.#cells.push(row.slice(at, at + columns));
    }
  }

  #put(character: string): void {
    if (this.#column >= this.columns) {
      this.wraps += 1;
      this.#newLine();
    }
    const row = this.#cells[this.#row];
    if (row === undefined) throw new Error("the cursor is off the screen");
    row[this.#column] = character;
    this.#column += 1;
  }

  #newLine(): void {
    this.#row += 1;
    this.#column = 0;
    if (this.#row === this.#cells.length) this.#cells.push([]);
  }

  #escape(part: string): void {
    const kind = part.at(-1);
    if (kind === "m" || part === "\x1b[?2026h" || part === "\x1b[?2026l") return;
    const top = Math.max(0, this.#cells.length - this.rows);
    if (kind === "A") this.#row = Math.max(top, this.#row - Number(part.slice(2, -1)));
    else if (part === "\x1b[K") this.#cells[this.#row]?.splice(this.#column);
    else if (kind === "M") {
      // Rows below move up and empty ones come in at the bottom.
      const gone = this.#cells.splice(this.#row, Number(part.slice(2, -1)));
      this.#cells.push(...gone.map(() => []));
    } else throw new Error(`unexpected escape ${JSON.stringify(part)}`);
  }
}
