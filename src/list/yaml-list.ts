/** Lists as YAML (and so as JSON): parses them with the place of every value, for the messages. */
import { resolve } from "node:path";
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type YAMLError,
} from "yaml";
import type { z } from "zod";
import { quoted, withoutLogin, withoutLogins } from "../oci/shown.ts";
import { type Finding, findingsOf } from "./findings.ts";
import { type ListSource, type ParsedList, type RegistrySettings, uniquePlatforms } from "./image-list.ts";
import { withLogin } from "./login.ts";
import { type Place, type Problems, placeText } from "./problems.ts";
import { List, listVersion } from "./schema.ts";
import { parseRegistryHost } from "./target-name.ts";

/**
 * An alias costs its number of uses times what it holds. Ten thousand images that share a list of platforms stay
 * far below this; aliases of aliases of aliases, each ten times, do not.
 */
const maxAliasCount = 100_000;
const nothing: ParsedList = { images: [], registries: [] };

/** Reads a YAML list. What is wrong is added to `problems`; then what is returned is of no use. */
export function parseYamlList(source: ListSource, problems: Problems): ParsedList {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { name: source.name, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const document = parseDocument(source.text, { lineCounter: lines, prettyErrors: false });
  // One slip makes YAML's parser complain several times about the line; the first one is the one that helps.
  const told = new Set<number>();
  for (const error of [...document.errors, ...document.warnings]) {
    const place = placeAt(error.pos[0]);
    if (!told.has(place.line)) problems.add(place, yamlMessage(error, source.text));
    told.add(place.line);
  }
  if (told.size > 0) return nothing;

  const data = plainData(document, (offset, message) => problems.add(placeAt(offset), message));
  if (data === undefined) return nothing;
  const placeOf = (path: readonly PropertyKey[], at: Finding["at"]): Place =>
    placeAt(offsetOf(document, path, at));
  const foreign = foreignVersion(data.value);
  const result = foreign === undefined ? List.safeParse(data.value, { reportInput: true }) : undefined;
  if (result?.success) return toParsedList(result.data, source, placeOf);
  for (const { path, at, message, hint } of foreign ?? findingsOf(result?.error.issues ?? [])) {
    problems.add(placeOf(path, at), message, hint);
  }
  return nothing;
}

function toParsedList(
  list: z.output<typeof List>,
  source: ListSource,
  placeOf: (path: readonly PropertyKey[], at: Finding["at"]) => Place,
): ParsedList {
  const defaults = list.defaults?.platforms ?? [];
  return {
    images: list.images.map((item, index) => {
      const image = "image" in item ? item : { image: item };
      return {
        reference: image.image,
        platforms: uniquePlatforms(image.platforms ?? defaults),
        ...(image.as === undefined ? {} : { as: image.as }),
        place: `${source.name}:${placeOf(["images", index], "value").line}`,
      };
    }),
    registries: Object.entries(list.registries ?? {}).map(([host, settings]) => {
      const place = placeOf(["registries", host, "username"], "key");
      return {
        host: parseRegistryHost(host),
        settings: withFolder(withLogin(settings ?? {}, placeText(place)), source.folder),
        places: new Map(
          Object.keys(settings ?? {}).map((key) => [key, placeOf(["registries", host, key], "key")]),
        ),
      };
    }),
  };
}

function withFolder(settings: RegistrySettings, folder: string | undefined): RegistrySettings {
  if (folder === undefined) return settings;
  const { caFile, clientCert, clientKey, login } = settings;
  return {
    ...settings,
    ...(caFile === undefined ? {} : { caFile: resolve(folder, caFile) }),
    ...(clientCert === undefined ? {} : { clientCert: resolve(folder, clientCert) }),
    ...(clientKey === undefined ? {} : { clientKey: resolve(folder, clientKey) }),
    ...(login?.passwordFile === undefined
      ? {}
      : { login: { ...login, passwordFile: resolve(folder, login.passwordFile) } }),
  };
}

/** What to say of a list of another version, and nothing else of it: its keys need not be ours. */
function foreignVersion(data: unknown): Finding[] | undefined {
  const version = typeof data === "object" && data !== null && "version" in data ? data.version : undefined;
  if (typeof version !== "number" || version === listVersion) return undefined;
  const message = `version ${version} of the list format is not known: this program reads version ${listVersion}`;
  return [
    { path: ["version"], at: "value", message, hint: `write version: ${listVersion}, or use a newer mirror` },
  ];
}

/** The document as plain values, wrapped; undefined after telling `add` about aliases that do not work out. */
function plainData(
  document: Document,
  add: (offset: number, message: string) => void,
): { readonly value: unknown } | undefined {
  try {
    return { value: document.toJS({ maxAliasCount }) };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    const anchors = new Set<string>();
    let first: { readonly offset: number; readonly message: string } | undefined;
    visit(document, {
      Node(_key, node, path) {
        if (!isAlias(node)) {
          if (node.anchor !== undefined) anchors.add(node.anchor);
          return undefined;
        }
        if (anchors.has(node.source)) return undefined;
        const parent = path.at(-1);
        const isSecret =
          isPair(parent) && isScalar(parent.key) && String(parent.key.value).startsWith("password");
        const message = isSecret
          ? "a value that begins with * is an alias in YAML: put it in quotes"
          : `there is no anchor &${withoutLogin(node.source)} for the alias *${withoutLogin(node.source)}`;
        first = { offset: node.range?.[0] ?? 0, message };
        return visit.BREAK;
      },
    });
    if (first === undefined) add(0, "too many aliases: write the values out");
    else add(first.offset, first.message);
    return undefined;
  }
}

/** Where a value, or its key, begins in the text. What is not there is where the nearest thing around it is. */
function offsetOf(document: Document, path: readonly PropertyKey[], at: Finding["at"]): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [depth, segment] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    let next: unknown;
    let isItem = false;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(segment));
      if (pair === undefined) return offset;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      if (at === "key" && depth === path.length - 1) return offset;
      next = pair.value;
    } else if (isSeq(node)) {
      next = node.items[Number(segment)];
      isItem = true;
    }
    if (!isNode(next)) return offset;
    // An empty value of a key is better shown by its key than by the end of the line.
    if (next.range && (isItem || next.range[0] < next.range[1])) offset = next.range[0];
    node = next;
  }
  return offset;
}

function yamlMessage(error: YAMLError, text: string): string {
  switch (error.code) {
    case "TAB_AS_INDENT":
      return "indented with a tab: YAML is indented with spaces";
    case "DUPLICATE_KEY": {
      const key =
        /^["']?((?:[^"':\r\n]|:(?!\s))*)/.exec(text.slice(error.pos[0], error.pos[0] + 1024))?.[1] ?? "";
      return `the key ${quoted(key.trim(), 100)} is there twice`;
    }
    case "MULTIPLE_DOCS":
      return "a second YAML document begins here: a list is one document";
    case "TAG_RESOLVE_FAILED":
      // The parser quotes what it takes for a tag, which may be a password.
      return "a value that begins with ! is a tag in YAML: put it in quotes";
    case "RESOURCE_EXHAUSTION":
      return "nested too deeply";
    default:
      return `not valid YAML: ${withoutLogins(error.message)}`;
  }
}
