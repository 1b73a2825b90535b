/**
 * The floors of src/ (design: imports go down only). A pure function over paths and texts, so that a test can feed it
 * planted violations; `npm run check` and test/floors.test.ts feed it the real files.
 */
import { posix } from "node:path";

/** One source file. `path` is relative to the project, with slashes: `src/oci/digest.ts`. */
export interface SourceText {
  readonly path: string;
  readonly text: string;
}

/**
 * Folder of src/ → floor. A file imports from lower floors and from its own folder. Folders that share a floor are
 * siblings and do not know each other. Commands stand on cli, which gives them their base class.
 */
const floors: Readonly<Record<string, number>> = {
  errors: 0,
  oci: 1,
  content: 2,
  sync: 3,
  list: 3,
  registry: 3,
  bundle: 3,
  credentials: 3,
  report: 4,
  serve: 4,
  cli: 5,
  commands: 6,
  index: 7,
};

/** What of a lower floor is open to a higher one only in part: report sees the events of sync, not its machinery. */
const openings: readonly { readonly from: string; readonly to: string; readonly only: readonly string[] }[] =
  [{ from: "report", to: "sync", only: ["src/sync/events.ts"] }];

/** Who may write to the terminal. */
const printers: ReadonlySet<string> = new Set(["report", "cli", "commands"]);

const maxLines = 300;

/** `src/oci/digest.ts` → `oci`; a file directly in src/ is a unit of its own: `src/errors.ts` → `errors`. */
function unitOf(path: string): string {
  const [, first = "", ...rest] = path.split("/");
  return rest.length === 0 ? first.replace(/\.[cm]?ts$/, "") : first;
}

/**
 * Blanks comments, and the insides of strings and templates unless `keepStrings`. Newlines stay, so that line numbers
 * do. Regular expression literals are taken as such where an expression may begin.
 */
function blank(text: string, keepStrings: boolean): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`|(?<=[=(,:[!&|?{};\n]\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//g;
  return text.replace(token, (match) => {
    if (keepStrings && !match.startsWith("/")) return match;
    return match.replace(/[^\n]/g, " ");
  });
}

/** Every module specifier that the file imports or re-exports: static, type-only, dynamic. */
export function importsOf(text: string): readonly string[] {
  const code = blank(text, true);
  // A statement's specifier follows `from`, or `import` itself where only the effects are wanted.
  const pattern = /\b(?:from|import)\s*\(?\s*(["'])([^"'\n]+)\1/g;
  return [...code.matchAll(pattern)].map((match) => match[2] ?? "");
}

/** Relative specifiers as paths of src/, the others left out. */
function localImports({ path, text }: SourceText): readonly string[] {
  return importsOf(text)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => posix.join(posix.dirname(path), specifier));
}

function checkImport(from: string, to: string): string | undefined {
  if (!to.startsWith("src/")) return `${from} imports ${to}, which is outside of src/`;
  const [unit, target] = [unitOf(from), unitOf(to)];
  if (unit === target) return undefined;
  const [floor, below] = [floors[unit], floors[target]];
  if (floor === undefined || below === undefined) return undefined; // reported once, by the unit's own file
  if (floor === below) return `${from} imports its sibling ${to}`;
  if (floor < below) return `${from} imports upward: ${to}`;
  const opening = openings.find((entry) => entry.from === unit && entry.to === target);
  if (opening !== undefined && !opening.only.includes(to)) {
    return `${from} imports ${to}: of ${target}, ${unit} may know ${opening.only.join(", ")} only`;
  }
  return undefined;
}

/** Printing outside of the places that may print. One finding a line. */
function checkPrinting({ path, text }: SourceText): readonly string[] {
  if (printers.has(unitOf(path))) return [];
  return blank(text, false)
    .split("\n")
    .flatMap((line, index) => {
      const match = /\bconsole\s*[.[]|\bprocess\s*\.\s*(?:stdout|stderr)\b/.exec(line);
      return match === null ? [] : [`${path}:${index + 1} prints (${match[0].replace(/\s*[.[]$/, "")})`];
    });
}

/** Import cycles between files, each found once, as `a → b → a`. */
function findCycles(graph: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      found.push(`import cycle: ${[...trail.slice(start), path].join(" → ")}`);
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const next of graph.get(path) ?? []) visit(next);
    trail.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return found;
}

/** Everything in `files` that breaks the rules, one sentence each; empty when all is well. */
export function checkFloors(files: readonly SourceText[]): readonly string[] {
  const problems: string[] = [];
  const graph = new Map<string, readonly string[]>();
  for (const file of files) {
    const { path, text } = file;
    if (floors[unitOf(path)] === undefined) {
      problems.push(`${path} stands on no floor: ${unitOf(path)} is unknown`);
    }
    const imports = localImports(file);
    graph.set(path, imports);
    for (const target of imports) {
      const problem = checkImport(path, target);
      if (problem !== undefined) problems.push(problem);
    }
    const lines = text.trimEnd().split("\n").length;
    if (lines >= maxLines) problems.push(`${path} has ${lines} lines: fewer than ${maxLines} are allowed`);
    problems.push(...checkPrinting(file));
  }
  problems.push(...findCycles(graph));
  return problems;
}
