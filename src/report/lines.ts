/** The view for pipes, log files and CI: plain lines, and one about the progress every five seconds. */
import type { Totals, TransferEvent } from "../sync/events.ts";
import { formatBytes, plural } from "./format.ts";
import { type Message, Messages, verbForms } from "./messages.ts";
import { figuresOf, Progress, percent, type Snapshot } from "./progress.ts";
import { formatSummary } from "./summary.ts";
import type { Terminal } from "./terminal.ts";

const progressMs = 5_000;
/** What is shown even when nothing should be: what went wrong, and what was asked for to find out why. */
const quietLevels: ReadonlySet<Message["level"]> = new Set(["warning", "failed", "debug"]);

export interface LineOptions {
  readonly stream: Terminal;
  readonly now: () => number;
  readonly verb: string;
  /** Only warnings and failures: no images, no progress, no summary. */
  readonly quiet: boolean;
}

/** Writes each line as a whole, at once. Its timer never keeps the process alive. */
export class LineReporter implements Disposable {
  readonly #options: LineOptions;
  readonly #messages: Messages;
  readonly #progress: Progress;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
    this.#messages = new Messages(options.verb);
    this.#progress = new Progress(options.now);
    this.#timer = options.quiet ? undefined : setInterval(() => this.#tick(), progressMs).unref();
  }

  on(event: TransferEvent): void {
    if (!this.#options.quiet) this.#progress.on(event);
    const message = this.#messages.of(event);
    if (message === undefined) return;
    if (this.#options.quiet && !quietLevels.has(message.level)) return;
    const extra = message.extra === undefined ? "" : ` ${message.extra}`;
    this.#write(`${message.label} ${message.text}${extra}`);
  }

  finish(totals: Totals, headline: string): void {
    this[Symbol.dispose]();
    if (!this.#options.quiet) this.#write(formatSummary(totals, headline, this.#options.verb));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const line = progressLine(this.#progress.snapshot(), this.#options.verb);
    if (line !== "") this.#write(line);
  }

  #write(text: string): void {
    this.#options.stream.write(`${text}\n`);
  }
}

/**
 * Where a run stands, as one line: `pulling 412.0 MiB of 2.0 GiB (20 %), 98.1 MiB/s, 17 s left, 12 of 40 images,
 * 8 active`. Empty while nothing has begun.
 */
function progressLine(snapshot: Snapshot, verb: string): string {
  if (snapshot.phase === "idle") return "";
  if (snapshot.phase === "resolving") {
    return `resolving ${snapshot.imagesResolved} of ${plural(snapshot.imagesAsked, "image")}`;
  }
  const { bytesDone, bytesTotal } = snapshot;
  const bytes = `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
  return [
    `${verbForms(verb).present} ${bytes} (${percent(bytesDone, bytesTotal)})`,
    ...figuresOf(snapshot),
    ...(snapshot.imagesFailed === 0 ? [] : [`${snapshot.imagesFailed} failed`]),
    ...(snapshot.active.length === 0 ? [] : [`${snapshot.active.length} active`]),
  ].join(", ");
}
