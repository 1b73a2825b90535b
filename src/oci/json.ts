/**
 * JSON from strangers: read only where every reader sees the same document in it. Bounds its depth, and refuses what
 * parsers disagree about: the same key twice in one object, a byte order mark (RFC 8259, sections 4 and 8.1).
 */

const quote = 0x22;
const backslash = 0x5c;
const bracket = 0x5b;
const brace = 0x7b;

/** Deeper than this is no document of ours. */
const maxDepth = 64;

/** The object that the text holds. Throws Error with the state: `it is not JSON`, `it has the key "layers" twice`. */
export function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let document: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (text.startsWith("\u{feff}"))
      throw new Error("it begins with a byte order mark, which JSON does not have");
    // V8 parses without recursion, however deep it goes, and takes 100 bytes for each level.
    checkDepth(text);
    document = JSON.parse(text);
    checkNesting(text);
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("it ")) throw error;
    throw new Error("it is not JSON", { cause: error });
  }
  if (typeof document === "object" && document !== null && !Array.isArray(document))
    return document as Record<string, unknown>;
  throw new Error("it is not a JSON object");
}

/** One pass over text that may be JSON, so that nothing is made of what is nested too deep. */
function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) inString = !inString;
    else if (code === backslash && inString) at += 1;
    else if (inString) continue;
    else if (code === bracket || code === brace) depth += 1;
    else if (code === bracket + 2 || code === brace + 2) depth -= 1;
    if (depth > maxDepth) throw new Error(`it is nested more than ${maxDepth} deep`);
  }
}

/** One pass over text that is JSON, without recursion. */
function checkNesting(text: string): void {
  // Of each open object its keys; undefined for a list.
  const open: (Set<string> | undefined)[] = [];
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[[\]{}]/g;
  for (const [found, colon] of text.matchAll(token)) {
    if (found === "{" || found === "[") {
      open.push(found === "{" ? new Set() : undefined);
    } else if (found === "}" || found === "]") {
      open.pop();
    } else if (colon !== undefined) {
      const text = found.slice(0, -colon.length);
      // A key may be written in several ways: "a" is "\\u0061" too.
      const key = text.includes("\\") ? JSON.stringify(JSON.parse(text)) : text;
      const keys = open.at(-1);
      if (keys?.has(key) === true) throw new Error(`it has the key ${key.slice(0, 80)} twice in one object`);
      keys?.add(key);
    }
  }
}
