/** The paths of the API, told apart as distribution's router does: what does not fit is a plain 404. */
const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const name = `(${component}(?:/${component})*)`;
// Wider than a digest: the handler tells what is none, with DIGEST_INVALID.
const digest = "[A-Za-z0-9_+.-]+:[A-Fa-f0-9]+";
const tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";

export type Route =
  | { readonly kind: "base" }
  | { readonly kind: "catalog" }
  | { readonly kind: "tags"; readonly repository: string }
  | { readonly kind: "manifest"; readonly repository: string; readonly reference: string }
  | { readonly kind: "blob"; readonly repository: string; readonly digest: string }
  | { readonly kind: "uploads"; readonly repository: string }
  | { readonly kind: "upload"; readonly repository: string; readonly id: string }
  /** The same path with a slash at the end is meant. */
  | { readonly kind: "slash" };

const patterns: readonly (readonly [RegExp, (first: string, second: string) => Route])[] = [
  [/^\/v2\/$/, () => ({ kind: "base" })],
  [/^\/v2$/, () => ({ kind: "slash" })],
  [/^\/v2\/_catalog$/, () => ({ kind: "catalog" })],
  [path("/tags/list"), (repository) => ({ kind: "tags", repository })],
  [
    path(`/manifests/(${tag}|${digest})`),
    (repository, reference) => ({ kind: "manifest", repository, reference }),
  ],
  [path(`/blobs/(${digest})`), (repository, found) => ({ kind: "blob", repository, digest: found })],
  [path("/blobs/uploads/"), (repository) => ({ kind: "uploads", repository })],
  [path("/blobs/uploads"), () => ({ kind: "slash" })],
  [path("/blobs/uploads/([A-Za-z0-9_.=-]+)"), (repository, id) => ({ kind: "upload", repository, id })],
];

/** The route of a decoded path; undefined if there is none. */
export function routeOf(requestPath: string): Route | undefined {
  for (const [pattern, make] of patterns) {
    const match = pattern.exec(requestPath);
    if (match !== null) return make(match[1] ?? "", match[2] ?? "");
  }
  return undefined;
}

function path(rest: string): RegExp {
  return new RegExp(`^/v2/${name}${rest}$`);
}
