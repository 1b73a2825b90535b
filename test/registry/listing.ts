/** Tag lists and the catalog, with the pages that each dialect makes. */
import type { RegistryContent } from "./content.ts";
import { jsonReply, methodNotAllowed, RegistryError } from "./errors.ts";
import type { RegistryRequest, Reply } from "./http.ts";
import type { Dialect } from "./uploads.ts";

const catalogPage = 100;
const maxPage = 1000;

/** Answers `tags/list`: 2.8 gives all in no order whatever is asked, 3 sorts and pages. */
export function answerTags(
  request: RegistryRequest,
  content: RegistryContent,
  repository: string,
  dialect: Dialect,
): Reply {
  if (request.method !== "GET") return methodNotAllowed("GET");
  const tags = content.findTags(repository);
  if (tags === undefined) throw new RegistryError("NAME_UNKNOWN", { name: repository });
  const body = (page: readonly string[]): object => ({
    name: repository,
    tags: page.length > 0 ? page : null,
  });
  if (dialect === "2.8") return jsonReply(200, body(tags));
  const { page, headers } = paged(request, [...tags].sort(), maxPage);
  return jsonReply(200, body(page), headers);
}

/** Answers `_catalog`. */
export function answerCatalog(request: RegistryRequest, content: RegistryContent): Reply {
  if (request.method !== "GET") return methodNotAllowed("GET");
  const { page, headers } = paged(request, content.repositories(), catalogPage);
  return jsonReply(200, { repositories: page }, headers);
}

/** The page that `n` and `last` ask for, and a Link if there is another one. */
function paged(
  request: RegistryRequest,
  sorted: readonly string[],
  standard: number,
): { readonly page: readonly string[]; readonly headers: Readonly<Record<string, string>> } {
  const asked = request.query.get("n");
  // What is no number counts as not asked.
  const n = asked !== null && /^-?[0-9]+$/.test(asked) ? Number(asked) : standard;
  if (n < 0 || n > maxPage) throw new RegistryError("PAGINATION_NUMBER_INVALID", { n: asked });
  const last = request.query.get("last") ?? "";
  const rest = sorted.filter((name) => name > last);
  const page = rest.slice(0, n);
  const final = page.at(-1);
  if (final === undefined || page.length === rest.length) return { page, headers: {} };
  const query = new URLSearchParams({ last: final, n: String(n) });
  return { page, headers: { link: `<${request.path}?${query.toString()}>; rel="next"` } };
}
