/** Turns zod's issues into sentences for users, each with the path of the value or key that it is about. */
import type { z } from "zod";
import { quoted, withoutLogin } from "../oci/shown.ts";
import { nearest } from "./nearest.ts";
import { knownKeys } from "./schema.ts";

/** One thing that is wrong, by its path in the list. */
export interface Finding {
  readonly path: readonly PropertyKey[];
  /** What to point at: the value at the path, or the key it stands under. */
  readonly at: "key" | "value";
  readonly message: string;
  readonly hint?: string | undefined;
}

type Issue = z.core.$ZodIssue;

/** All that the issues say. They must come from a parse with `reportInput`. */
export function findingsOf(issues: readonly Issue[], base: readonly PropertyKey[] = []): Finding[] {
  return issues.flatMap((issue): Finding[] => {
    const path = [...base, ...issue.path];
    switch (issue.code) {
      case "unrecognized_keys":
        return issue.keys.map((key) => unknownKey(path, key, issue.input));
      case "invalid_key":
        return issue.issues.map((inner) => ({
          path,
          at: "key",
          message: inner.message,
          hint: hintOf(inner),
        }));
      case "invalid_union": {
        // The branch that fits the kind of value is the one that the user meant.
        const meant = issue.errors.find((branch) => !branch.some(isOtherKind));
        if (meant === undefined) return [plain(path, issue)];
        return missingSpace(path, issue.input) ?? findingsOf(meant, path);
      }
      case "custom":
        return [{ path, at: "value", message: issue.message, hint: hintOf(issue) }];
      default:
        return [plain(path, issue)];
    }
  });
}

function plain(path: readonly PropertyKey[], issue: Issue): Finding {
  const key = path.findLast((segment) => typeof segment === "string");
  if (issue.input === undefined && typeof path.at(-1) === "string") {
    return { path: path.slice(0, -1), at: "value", message: `${String(key)} is missing: ${issue.message}` };
  }
  if (issue.code === "invalid_type" && issue.expected === "never") {
    return { path, at: "key", message: `${String(key)} ${issue.message}` };
  }
  const label = key === undefined || key === "images" ? "" : `${key}: `;
  const value = mayBeSecret(path) ? secretKindOf(issue.input) : kindOf(issue.input);
  const got = issue.code === "too_small" && issue.origin === "array" ? "" : `, got ${value}`;
  return { path, at: "value", message: `${label}${issue.message}${got}`, hint: quoteHint(issue) };
}

function unknownKey(path: readonly PropertyKey[], key: string, input: unknown): Finding {
  const at = { path: [...path, key], at: "key" } as const;
  const { what, keys } = knownKeys(path);
  const near = nearest(key, keys);
  const message = `${quoted(key)} is not a key of ${what}`;
  if (near === undefined) return { ...at, message, hint: `its keys are ${keys.join(", ")}` };
  const twice = typeof input === "object" && input !== null && Object.hasOwn(input, near);
  return { ...at, message, hint: twice ? `${near} is there already` : `write ${near}` };
}

/** `- nginx: 1.27` is a mapping to YAML; nobody who writes it means one. */
function missingSpace(path: readonly PropertyKey[], input: unknown): Finding[] | undefined {
  if (path[0] !== "images" || path.length !== 2 || typeof input !== "object" || input === null)
    return undefined;
  const [entry, ...others] = Object.entries<unknown>({ ...input });
  if (entry === undefined || others.length > 0) return undefined;
  const [key, value] = entry;
  const tag = typeof value === "string" || typeof value === "number" ? `${value}` : undefined;
  if (tag === undefined && value !== null) return undefined;
  const { keys } = knownKeys(path);
  if (keys.includes(key) || nearest(key, keys) !== undefined || key === "tags") return undefined;
  if (withoutLogin(`${key}:${tag}`) !== `${key}:${tag}`) {
    const message = "expected an image reference, got a mapping that looks like a login";
    return [{ path, at: "value", message, hint: "leave it out and log in to the registry" }];
  }
  const hint =
    tag === undefined
      ? "leave the colon out, or put a tag behind it"
      : `write ${key}:${tag}, without the space`;
  return [
    {
      path,
      at: "value",
      message: `expected an image reference, got a mapping with ${quoted(key)}`,
      hint,
    },
  ];
}

function isOtherKind(issue: Issue): boolean {
  return issue.path.length === 0 && issue.code === "invalid_type";
}

function hintOf(issue: Issue): string | undefined {
  const hint: unknown = issue.code === "custom" ? issue.params?.["hint"] : undefined;
  if (typeof hint === "string") return hint;
  // A list whose lines are indented differently is one long value to YAML.
  const isJoined = typeof issue.input === "string" && /\s/u.test(issue.input);
  return isJoined ? "check that the lines of the list are indented alike" : undefined;
}

/** YAML reads 1.10 as the number 1.1, which is why a number is never taken for text. */
function quoteHint(issue: Issue): string | undefined {
  const wantsText = issue.code === "invalid_type" && issue.expected === "string";
  return wantsText && ["number", "boolean"].includes(typeof issue.input) ? "put it in quotes" : undefined;
}

/** True for what may hold a password: its keys, and a registry whose settings are no mapping. */
function mayBeSecret(path: readonly PropertyKey[]): boolean {
  if (path[0] !== "registries") return false;
  return path.length < 3 || String(path[2]).startsWith("password");
}

function secretKindOf(value: unknown): string {
  if (value === "") return "nothing";
  if (typeof value === "string") return "a text that is not shown";
  return ["number", "boolean", "bigint"].includes(typeof value) ? `a ${typeof value}` : kindOf(value);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return typeof value === "string" ? quoted(value, 80) : JSON.stringify(value);
}
