/** The lines that stay: what became of each image, warnings, retries. The same words in every view. */
import type { AppError } from "../errors.ts";
import { shortDigest } from "../oci/digest.ts";
import type { TransferEvent } from "../sync/events.ts";
import { escapeControl, formatDuration, formatError, withHint } from "./format.ts";
import { Outages } from "./outages.ts";
import { unreachable } from "./unreachable.ts";

export interface Message {
  readonly level: "done" | "unchanged" | "retry" | "warning" | "note" | "failed" | "debug";
  /** The first word or words: what a view may colour. */
  readonly label: string;
  /** The rest; may hold several lines. Safe for a terminal. */
  readonly text: string;
  /** A last word that may be left out where there is no room for it. */
  readonly extra?: string;
}

/** The forms of a command's verb that reporters need. */
export interface VerbForms {
  /** `pulling` */
  readonly present: string;
  /** `pulled` */
  readonly past: string;
}

/** Warnings that are remembered, so that each is shown once; beyond that the oldest may come again. */
const maxRemembered = 1_000;

/** Turns events into messages; keeps the warnings it has seen. */
export class Messages {
  readonly #past: string;
  readonly #seen = new Set<string>();
  readonly #outages = new Outages();

  /** `verb` is the command's name: `pull`. */
  constructor(verb: string) {
    this.#past = verbForms(verb).past;
  }

  /** The message of an event; undefined if it has none or if the same warning was given before. */
  of(event: TransferEvent): Message | undefined {
    switch (event.type) {
      case "image-finished":
        return {
          level: event.unchanged ? "unchanged" : "done",
          label: event.unchanged ? "unchanged" : this.#past,
          text: escapeControl(event.image),
          extra: shortDigest(event.digest),
        };
      case "image-failed":
        return { level: "failed", label: "failed", text: failure(event.image, event.error) };
      case "image-waiting": {
        const said = `Cannot complete ${event.image} yet: it waits `;
        const { message } = event.error;
        const text = message.startsWith(said) ? `${event.image} ${message.slice(said.length)}` : message;
        return { level: "note", label: "waiting", text: escapeControl(text) };
      }
      case "retrying": {
        if (!this.#outages.tells(event.cause)) return undefined;
        const wait = event.delayMs <= 0 ? "now" : `in ${formatDuration(event.delayMs / 1000)}`;
        // The error names what could not be done, and so does the line already.
        const said = `Cannot ${event.what}: `;
        const { message } = event.cause;
        const cause = escapeControl(message.startsWith(said) ? message.slice(said.length) : message);
        const text = `${escapeControl(event.what)} ${wait} (attempt ${event.attempt}): ${cause}`;
        return { level: "retry", label: "retrying", text };
      }
      case "answered":
        if (!this.#outages.ends(event.host)) return undefined;
        return { level: "retry", label: "back:", text: `${escapeControl(event.host)} answers again` };
      case "warning": {
        const text = withHint(event.message, event.hint);
        return this.#isNew(text) ? { level: "warning", label: "warning:", text } : undefined;
      }
      case "note":
        return { level: "note", label: "note:", text: escapeControl(event.message) };
      case "debug":
        return { level: "debug", label: "debug:", text: escapeControl(event.message) };
      // A blob's failure comes again as that of every image it belongs to.
      case "blob-failed":
      case "resolving":
      case "resolved":
      case "planned":
      case "blob-started":
      case "blob-progress":
      case "blob-finished":
      case "blob-skipped":
      case "verified":
      case "rate-limit":
        return undefined;
      default:
        return unreachable(event);
    }
  }

  #isNew(text: string): boolean {
    if (this.#seen.has(text)) return false;
    if (this.#seen.size >= maxRemembered) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest);
        break;
      }
    }
    this.#seen.add(text);
    return true;
  }
}

/** `pull` gives `pulling` and `pulled`, by the rules for regular verbs. */
export function verbForms(verb: string): VerbForms {
  if (verb.endsWith("e")) return { present: `${verb.slice(0, -1)}ing`, past: `${verb}d` };
  if (/[^aeiou]y$/.test(verb)) return { present: `${verb}ing`, past: `${verb.slice(0, -1)}ied` };
  return { present: `${verb}ing`, past: `${verb}ed` };
}

/** Many errors name their image already; it is not said twice. */
function failure(image: string, error: AppError): string {
  const text = formatError(error);
  const name = `${escapeControl(image)}: `;
  return text.startsWith(name) ? text : name + text;
}
