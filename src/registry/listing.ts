/** What a registry holds: its catalog and the tags of a repository, paged by `Link` alone. */
import { z } from "zod";
import { AppError, isAppError } from "../errors.ts";
import { isRepository, isTag } from "../oci/reference.ts";
import type { RegistryClient } from "./client.ts";
import { RegistryError } from "./errors.ts";
import type { Answer } from "./http.ts";
import { redirectTarget } from "./leads.ts";
import type { AddressGuard } from "./net/guard.ts";
import { requestWhole, type WholeAnswer } from "./whole.ts";

const pageBytes = 16 * 1024 * 1024;
const maxPages = 10_000;

const Tags = z.object({ tags: z.array(z.unknown()).nullish() });
const Catalog = z.object({ repositories: z.array(z.unknown()).nullish() });

/**
 * The tags of a repository, sorted (`GET /v2/NAME/tags/list`, distribution-spec "Listing Tags"). Entries that are
 * no tags by the grammar are left out. Throws NOT_FOUND if there is no such repository.
 */
export async function listTags(
  client: RegistryClient,
  repository: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const what = `list the tags of ${client.registry}/${repository}`;
  const scopes = [`repository:${repository}:pull`];
  const pages = readPages(client, { path: `/v2/${repository}/tags/list?n=1000`, what, scopes, signal });
  const found = new Set<string>();
  for await (const page of pages) {
    for (const tag of parsePage(Tags, page, what).tags ?? []) {
      if (typeof tag === "string" && isTag(tag)) found.add(tag);
    }
  }
  return [...found].sort();
}

/** The repositories of a registry, sorted (`GET /v2/_catalog`). Throws REGISTRY where it offers no catalog. */
export async function listRepositories(
  client: RegistryClient,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const what = `list the repositories of ${client.registry}`;
  const found = new Set<string>();
  try {
    const pages = readPages(client, {
      path: "/v2/_catalog?n=1000",
      what,
      scopes: ["registry:catalog:*"],
      signal,
    });
    for await (const page of pages) {
      for (const name of parsePage(Catalog, page, what).repositories ?? []) {
        if (typeof name === "string" && isRepository(name)) found.add(name);
      }
    }
  } catch (error) {
    const refused =
      isAppError(error, "AUTH", "DENIED", "NOT_FOUND") ||
      (error instanceof RegistryError && [405, 501].includes(error.status));
    if (!refused) throw error;
    throw new AppError("REGISTRY", `Cannot ${what}: it offers no catalog, or not to you`, {
      hint: `name a repository: mirror ls ${client.registry}/REPOSITORY`,
      cause: error,
    });
  }
  return [...found].sort();
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
    if (seen.has(String(at)) || seen.size === maxPages) {
      throw new AppError("REGISTRY", `Cannot ${wanted.what}: its pages never end`);
    }
    seen.add(String(at));
    const { answer, bytes }: WholeAnswer = await readPage(client, wanted, at);
    if (answer.status === 404) {
      throw new AppError("NOT_FOUND", `Cannot ${wanted.what}: ${client.registry} has no such repository`, {
        hint: `check the name; mirror ls ${client.registry} shows what is there`,
      });
    }
    yield bytes;
    at = nextPage(answer, wanted.what, client.guard);
  }
}

/** One page, of the registry's own size where it refuses ours: distribution does so beyond `catalog.maxentries`. */
async function readPage(client: RegistryClient, wanted: PageRequest, at: string | URL): Promise<WholeAnswer> {
  const request = { ...wanted, method: "GET", accept: [200, 404] } as const;
  try {
    return await requestWhole(client, { ...request, path: at }, pageBytes);
  } catch (error) {
    const refused = error instanceof RegistryError && error.has("PAGINATION_NUMBER_INVALID");
    if (!refused || typeof at !== "string") throw error;
    return await requestWhole(client, { ...request, path: at.replace(/\?.*$/, "") }, pageBytes);
  }
}

/**
 * `Link: <url>; rel="next"` (RFC 8288), resolved against the request and held to its host. Old Quay leaves the
 * angle brackets out (heroku/docker-registry-client#11).
 */
export function nextPage(answer: Answer, what: string, guard: AddressGuard): URL | undefined {
  const link = [answer.headers["link"] ?? []].flat().join(", ");
  const next = /(?:<([^>]*)>|^([^<;]+))[^<]*?;\s*rel="?next(?![\w-])/i.exec(link)?.slice(1).find(Boolean);
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
