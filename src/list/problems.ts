/** Collects everything that is wrong with the lists, so that a user meets all of it at once. */
import { AppError } from "../errors.ts";

/** A spot in a list. Line and column count from 1; the column counts UTF-16 units. */
export interface Place {
  readonly name: string;
  readonly line: number;
  readonly column: number;
}

interface Problem {
  readonly place: Place;
  readonly message: string;
  readonly hint: string | undefined;
}

const maxShown = 20;
const defaultHint = "see manifests.example.yaml for every key and both forms of a list";

/** `manifests.yaml:12:5`, the form that editors and terminals make a link of. */
export function placeText(place: Place): string {
  return `${place.name}:${place.line}:${place.column}`;
}

/** The problems of all lists of one command. */
export class Problems {
  readonly #found = new Map<string, Problem>();

  /**
   * Adds one. `hint` is what the user can do about it, if there is more to say than the message says. The same
   * problem at the same place, which an alias can lead to many times, counts once.
   */
  add(place: Place, message: string, hint?: string): void {
    this.#found.set(`${placeText(place)} ${message}`, { place, message, hint });
  }

  /**
   * Throws one LIST error if there is any problem: one line each, list by list and from the top down, at most
   * twenty of them. The hint of a single problem becomes the hint of the error.
   */
  throwIfAny(): void {
    const [only, ...others] = this.#sorted();
    if (only === undefined) return;
    const details = { problems: this.#found.size };
    if (others.length === 0) {
      throw new AppError("LIST", lineOf(only.place, only.message), {
        hint: only.hint ?? defaultHint,
        details,
      });
    }
    const lines = [only, ...others]
      .slice(0, maxShown)
      .map(({ place, message, hint }) =>
        lineOf(place, hint === undefined ? message : `${message} (${hint})`),
      );
    if (this.#found.size > maxShown) lines.push(`and ${this.#found.size - maxShown} more`);
    throw new AppError("LIST", lines.join("\n"), { hint: defaultHint, details });
  }

  #sorted(): Problem[] {
    const found = [...this.#found.values()];
    const names = [...new Set(found.map((problem) => problem.place.name))];
    const order = new Map(names.map((name, index) => [name, index]));
    const rank = (problem: Problem): number => order.get(problem.place.name) ?? 0;
    return found.sort(
      (a, b) => rank(a) - rank(b) || a.place.line - b.place.line || a.place.column - b.place.column,
    );
  }
}

/** Values in messages come from a file: one with line breaks or terminal escapes must not break the line. */
function lineOf(place: Place, message: string): string {
  return `${placeText(place)}: ${message}`.replace(
    /\p{Cc}/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
