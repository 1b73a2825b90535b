/** What a registry holds: its catalog and the tags of a repository, paged by `Link` alone. */
import { z } from "zod";
import { AppError, isAppError } from "../errors.ts";
import { isRepository, isTag } from "../oci/reference.ts";
import type { RegistryClient } from "./client.ts";
import { printable, RegistryError } from "./errors.ts";
import type { Answer } from "./http.ts";
import { redirectTarget } from "./leads.ts";
import { nextLink } from "./link.ts";
import type { AddressGuard } from "./net/guard.ts";
import { pullScope } from "./scopes.ts";
import { requestWhole, type WholeAnswer } from "./whole.ts";

const pageBytes = 16 * 1024 * 1024;
const maxPages = 10_000;
const maxEntries = 1_000_000;
/** A page may be empty, or hold what came before since the list has moved. So many in a row lead nowhere. */
const maxIdlePages = 100;
/** Entries that a warning names. */
const shownEntries = 3;

const Tags = z.object({ tags: z.array(z.unknown()).nullish() }).transform(({ tags }) => tags ?? []);
const Catalog = z
  .object({ repositories: z.array(z.unknown()).nullish() })
  .transform(({ repositories }) => repositories ?? []);

/**
 * The tags of a repository, sorted (`GET /v2/NAME/tags/list`, distribution-spec "Listing Tags"). Entries that are
 * no tags by the grammar are left out, with one warning. Throws NOT_FOUND if there is no such repository.
 */
export async function listTags(
  client: RegistryClient,
  repository: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  return await readList(client, {
    path: `/v2/${repository}/tags/list?n=1000`,
    what: `list the tags of ${client.registry}/${repository}`,
    scopes: [pullScope(repository)],
    signal,
    entries: Tags,
    isEntry: isTag,
    kind: "tags",
  });
}

/** The repositories of a registry, sorted (`GET /v2/_catalog`). Throws REGISTRY where it offers no catalog. */
export async function listRepositories(
  client: RegistryClient,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const what = `list the repositories of ${client.registry}`;
  // What keeps it from being reached (a proxy that refuses, say) is not about the catalog.
  await client.connect(signal);
  try {
    return await readList(client, {
      path: "/v2/_catalog?n=1000",
      what,
      scopes: ["registry:catalog:*"],
      signal,
      entries: Catalog,
      isEntry: isRepository,
      kind: "repository names",
    });
  } catch (error) {
    // What is wrong with our credentials says more than that there is no catalog.
    const ours = !(error instanceof RegistryError) || error.credential !== undefined;
    if (isAppError(error, "AUTH") && ours) throw error;
    const refused =
      isAppError(error, "AUTH", "DENIED", "NOT_FOUND") ||
      (error instanceof RegistryError && [405, 501].includes(error.status));
    if (!refused) throw error;
    const login = isAppError(error, "AUTH") ? `log in with mirror login ${client.registry}, or ` : "";
    throw new AppError("REGISTRY", `Cannot ${what}: it offers no catalog, or not to you`, {
      hint: `${login}name a repository: mirror ls ${client.registry}/REPOSITORY`,
      cause: error,
    });
  }
}

interface ListRequest extends PageRequest {
  /** The entries of a page. */
  readonly entries: z.ZodType<readonly unknown[]>;
  readonly isEntry: (text: string) => boolean;
  /** What the entries should be, for messages. */
  readonly kind: string;
}

/** All entries of all pages, each once, sorted: old registries give them in the order of their disk. */
async function readList(client: RegistryClient, wanted: ListRequest): Promise<readonly string[]> {
  const found = new Set<string>();
  const odd: unknown[] = [];
  let oddEntries = 0;
  let idlePages = 0;
  for await (const page of readPages(client, wanted)) {
    const before = found.size;
    for (const entry of parsePage(wanted.entries, page, wanted.what)) {
      if (typeof entry === "string" && wanted.isEntry(entry)) {
        found.add(entry);
        continue;
      }
      oddEntries += 1;
      if (odd.length < shownEntries) odd.push(entry);
    }
    idlePages = found.size > before ? 0 : idlePages + 1;
    if (idlePages >= maxIdlePages) throw neverEnding(wanted);
    if (found.size > maxEntries)
      throw new AppError("REGISTRY", `Cannot ${wanted.what}: there are more than ${maxEntries} entries`);
  }
  if (oddEntries > 0) {
    const shown = odd.map(shorten).join(", ");
    const more = oddEntries > odd.length ? " and others" : "";
    client.warn(
      `${oddEntries} ${oddEntries === 1 ? "entry was" : "entries were"} left out that cannot be ${wanted.kind} (${wanted.what}): ${shown}${more}`,
    );
  }
  return [...found].sort();
}

/** The error for a list of what a registry does not have. */
export function noSuchRepository({ registry }: RegistryClient, what: string): AppError {
  return new AppError("NOT_FOUND", `Cannot ${what}: ${registry} has no such repository`, {
    hint: `check the name; mirror ls ${registry} shows what is there`,
  });
}

/** An entry that is none, for people: short, and without control characters. */
function shorten(entry: unknown): string {
  const text = printable(JSON.stringify(entry) ?? "nothing");
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

function neverEnding({ what }: PageRequest): AppError {
  return new AppError("REGISTRY", `Cannot ${what}: its pages never end`);
}

interface PageRequest {
  readonly path: string;
  readonly what: string;
  readonly scopes: readonly string[];
  readonly signal: AbortSignal | undefined;
}

async function* readPages(client: RegistryClient, wanted: PageRequest): AsyncGenerator<Buffer, void> {
  const seen = new Set<string>();
  let at: string | URL | undefined = wanted.path;
  while (at !== undefined) {
    if (seen.has(String(at)) || seen.size === maxPages) throw neverEnding(wanted);
    seen.add(String(at));
    const { answer, bytes }: WholeAnswer = await readPage(client, wanted, at);
    if (answer.status === 404) throw noSuchRepository(client, wanted.what);
    yield bytes;
    at = nextPage(answer, wanted.what, client.guard);
  }
}

/**
 * One page, of the registry's own size where it refuses ours: distribution does so beyond `catalog.maxentries`, with a
 * code of its own; others answer a bare 400.
 */
async function readPage(client: RegistryClient, wanted: PageRequest, at: string | URL): Promise<WholeAnswer> {
  const request = { ...wanted, method: "GET", accept: [200, 404] } as const;
  try {
    return await requestWhole(client, { ...request, path: at }, pageBytes);
  } catch (error) {
    const refused =
      error instanceof RegistryError && (error.status === 400 || error.has("PAGINATION_NUMBER_INVALID"));
    if (!refused || typeof at !== "string") throw error;
    return await requestWhole(client, { ...request, path: at.replace(/\?.*$/, "") }, pageBytes);
  }
}

/** The next page by `Link` (link.ts), resolved against the request and held to its origin. */
export function nextPage(answer: Answer, what: string, guard: AddressGuard): URL | undefined {
  const next = nextLink(answer.headers["link"]);
  if (next === undefined) return undefined;
  const url = URL.canParse(next, answer.url.href) ? new URL(next, answer.url) : undefined;
  // Behind a TLS proxy, registries may name themselves with http.
  if (url?.host === answer.url.host && url.protocol === "http:") url.protocol = answer.url.protocol;
  const target = redirectTarget(url?.href ?? next, answer.url, what, guard);
  if (target.origin !== answer.url.origin) {
    throw new AppError("REGISTRY", `Cannot ${what}: its next page is on another host, ${target.host}`);
  }
  return target;
}

function parsePage<T>(schema: z.ZodType<T>, page: Buffer, what: string): T {
  try {
    return schema.parse(JSON.parse(page.toString("utf8")));
  } catch (error) {
    throw new AppError("REGISTRY", `Cannot ${what}: the answer is not a list`, { cause: error });
  }
}
