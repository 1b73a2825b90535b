/** Lists as plain text: one reference a line, `#` comments, blank lines. */
import { isAppError } from "../errors.ts";
import { parseReference } from "../oci/reference.ts";
import { quoted } from "../oci/shown.ts";
import type { ImageRequest, ListSource, ParsedList } from "./image-list.ts";
import type { Problems } from "./problems.ts";

/** A line that says something: without its comment and the space around it. */
export interface TextLine {
  readonly text: string;
  /** Both count from 1; the column is that of the first character of `text`. */
  readonly line: number;
  readonly column: number;
}

/** The lines of a text that are neither blank nor comments. A comment begins a line or follows white space. */
export function significantLines(text: string): TextLine[] {
  return text.split(/\r\n|\n|\r/).flatMap((raw, index) => {
    const found = raw.replace(/(?:^|\s)#.*$/u, "");
    const trimmed = found.trim();
    return trimmed === "" ? [] : [{ text: trimmed, line: index + 1, column: found.indexOf(trimmed) + 1 }];
  });
}

/** Reads a plain list. Every platform is taken of every image. What is wrong is added to `problems`. */
export function parsePlainList(source: ListSource, problems: Problems): ParsedList {
  const images: ImageRequest[] = [];
  for (const { text, line, column } of significantLines(source.text)) {
    const place = { name: source.name, line, column };
    if (/\s/u.test(text)) {
      problems.add(place, `expected one image reference a line, got ${quoted(text, 80)}`);
      continue;
    }
    try {
      images.push({ reference: parseReference(text), platforms: [], place: `${source.name}:${line}` });
    } catch (error) {
      if (!isAppError(error)) throw error;
      problems.add(place, error.message, error.hint);
    }
  }
  return { images, registries: [] };
}
