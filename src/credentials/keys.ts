/** Which keys of a file of credentials are meant for a registry, and for a repository in it. */

/** Docker's own key for Docker Hub, and what credential helpers are asked for it. */
const dockerHubKey = "https://index.docker.io/v1/";
/** The names under which tools store Docker Hub's credentials, in the order they are tried. */
const dockerHubNames = ["index.docker.io", "docker.io", "registry-1.docker.io"];

/** The key that Docker stores a registry (`host[:port]`, or `docker.io`) under, in files and in helpers. */
export function storeKey(registry: string): string {
  return registry === "docker.io" ? dockerHubKey : registry;
}

/** True if a key means this registry as a whole, as `https://host/v1/` means `host`. */
export function meansRegistry(key: string, registry: string): boolean {
  const host = hostOfKey(key);
  return registry === "docker.io" ? dockerHubNames.includes(host) : host === registry;
}

/**
 * The keys of those given that hold for a repository of the registry, the most specific first: `host/a/b`, `host/a`,
 * `host` (containers-auth.json.5), and last those with a `*`. Without a repository, those that mean the whole registry.
 */
export function keysFor(keys: readonly string[], registry: string, repository?: string): readonly string[] {
  const names = registry === "docker.io" ? dockerHubNames : [registry];
  const parts = repository === undefined ? [] : repository.split("/");
  const prefixes = parts.map((_, at) => parts.slice(0, parts.length - at).join("/"));
  const paths = prefixes.flatMap((prefix) => names.map((name) => `${name}/${prefix}`));
  const narrow = paths.flatMap((path) => keys.filter((key) => withoutScheme(key) === path));
  // The exact key first, then any key that means the same host.
  const whole = [storeKey(registry), ...names];
  const wide = whole.flatMap((name) => [
    ...keys.filter((key) => key === name),
    ...keys.filter((key) => key !== name && hostOfKey(key) === hostOfKey(name)),
  ]);
  const patterns = keys.filter((key) => names.some((name) => matches(key, name, repository)));
  return [...new Set([...narrow, ...wide, ...patterns.sort((a, b) => b.length - a.length)])];
}

/** `*.example.com/team`, as Kubernetes has it in pull secrets: a `*` stands for letters of one part of the host. */
function matches(key: string, host: string, repository = ""): boolean {
  const [pattern = "", ...path] = withoutScheme(key).split("/");
  if (!pattern.includes("*")) return false;
  const parts = pattern.split("*").map((part) => part.replace(/[^\w-]/g, "\\$&"));
  const prefix = path.length === 0 ? "" : `${path.join("/")}/`;
  return new RegExp(`^${parts.join("[^.:]*")}$`).test(host) && `${repository}/`.startsWith(prefix);
}

function withoutScheme(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/+$/, "");
}

/**
 * `https://reg.example.com/v1/` and `reg.example.com` name the same host, as Docker's ConvertToHostname has it. The
 * path of a key without a scheme is a namespace to Podman, which must not open the rest of the registry.
 */
function hostOfKey(key: string): string {
  const bare = key.replace(/^https?:\/\//, "");
  return bare === key ? key.replace(/\/(?:v[12]\/?)?$/, "") : bare.replace(/\/.*$/, "");
}
