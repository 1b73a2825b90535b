/** `WWW-Authenticate`: many challenges in many lines (RFC 9110 §11.6.1), as the registries of the world send them. */

export interface Challenge {
  /** In lower case: `bearer`, `basic`, or one that we do not speak. */
  readonly scheme: string;
  /** Keys in lower case; the first of two equal keys wins. */
  readonly parameters: Readonly<Record<string, string>>;
}

const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const token68 = /[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))/y;
const blanks = /[ \t]*/y;
const separators = /[ \t,]*/y;

/** Parses every challenge of the header lines. What cannot be read is left out, the rest stays. */
export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  if (header === undefined) return [];
  const lines = typeof header === "string" ? [header] : header;
  return lines.flatMap((line) => parseLine(line));
}

function parseLine(line: string): Challenge[] {
  const found: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(line);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match[0];
  };
  for (;;) {
    take(separators);
    const scheme = take(token);
    if (scheme === undefined) return found;
    const afterScheme = at;
    take(blanks);
    const parameters = at > afterScheme && take(token68) !== undefined ? {} : readParameters();
    // An unterminated quote makes the challenge worthless, but not the ones before it.
    if (parameters === undefined) return found;
    found.push({ scheme: scheme.toLowerCase(), parameters });
  }

  function readParameters(): Record<string, string> | undefined {
    const parameters: Record<string, string> = {};
    for (;;) {
      const start = at;
      take(separators);
      const key = take(token)?.toLowerCase();
      take(blanks);
      if (key === undefined || line[at] !== "=") {
        // Not a parameter of this challenge: the name of the next one, or the end.
        at = start;
        return parameters;
      }
      at += 1;
      take(blanks);
      const value = line[at] === '"' ? readQuoted() : (take(token68) ?? take(/[^\s,]*/y) ?? "");
      if (value === undefined) return undefined;
      if (!(key in parameters)) parameters[key] = value;
    }
  }

  function readQuoted(): string | undefined {
    let text = "";
    for (at += 1; at < line.length; at += 1) {
      const character = line[at];
      if (character === '"') {
        at += 1;
        return text;
      }
      if (character === "\\") at += 1;
      text += line[at] ?? "";
    }
    return undefined;
  }
}
