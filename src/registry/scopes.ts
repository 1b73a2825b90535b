/** Scopes of tokens: `type:name:actions` (distribution's auth/scope.md). */

/** The scope for reading a repository. */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

/** The scope for writing to a repository, which has to be read for that, too. */
export function pushScope(repository: string): string {
  return `repository:${repository}:pull,push`;
}

/** The same rights with each resource named once, sorted, so that equal sets of rights are equal lists. */
export function mergeScopes(scopes: readonly string[]): readonly string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of scopes) {
    // Names may hold a port, so the actions begin at the last colon. What has none is passed on as it is.
    const at = scope.lastIndexOf(":");
    const [resource, wanted] = at < 0 ? [scope, ""] : [scope.slice(0, at), scope.slice(at + 1)];
    const known = actions.get(resource) ?? new Set<string>();
    actions.set(resource, known);
    for (const action of wanted.split(",").filter(Boolean)) known.add(action);
  }
  return [...actions]
    .map(([resource, wanted]) => [resource, [...wanted].sort().join(",")].filter(Boolean).join(":"))
    .sort();
}

/** The repository that the first of the scopes names; undefined for scopes of another type, or none. */
export function repositoryOf(scopes: readonly string[]): string | undefined {
  return /^repository(?:\([^)]*\))?:(.+):[^:]*$/.exec(scopes[0] ?? "")?.[1];
}
