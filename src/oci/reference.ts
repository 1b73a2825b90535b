/**
 * Image references after distribution/reference: `[domain/]path[:tag][@digest]`, with Docker Hub's defaults.
 * The accept and reject tables of that project are test data in test/oci/reference.test.ts.
 */
import { AppError } from "../errors.ts";
import { Digest } from "./digest.ts";
import { quoted } from "./shown.ts";

/** A normalised reference. At least one of tag and digest is there; where both are, the digest is what is fetched. */
export interface Reference {
  /** Host with port, in the form users know: `docker.io`, `ghcr.io`, `[::1]:5000`. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const domainComponent = "(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])";
const domainPattern = new RegExp(
  `^(?:${domainComponent}(?:\\.${domainComponent})*|\\[[0-9A-Fa-f:]+\\])(?::[0-9]+)?$`,
);
const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
/** `user:password@host/`: a password may hold anything. */
const loginPattern = /@(?!sha\d+:)[^@/]*\/[^@]*(?:@sha\d+:.*)?$/i;
const maxRepositoryLength = 255;
const maxInputLength = 1024;
const dockerHubNames: ReadonlySet<string> = new Set(["index.docker.io", "registry-1.docker.io"]);

/** True if the text is a tag by the grammar of distribution-spec. */
export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/** True if the text is a repository path by the grammar of distribution-spec, and not over 255 bytes. */
export function isRepository(text: string): boolean {
  return text.length <= maxRepositoryLength && repositoryPattern.test(text);
}

/** True if the text is `host[:port]`. */
export function isRegistryHost(text: string): boolean {
  if (text.length > maxInputLength || !domainPattern.test(text)) return false;
  const port = /:([0-9]+)$/.exec(text.replace(/^\[[^\]]*\]/, ""))?.[1];
  return port === undefined || (Number(port) > 0 && Number(port) <= 65_535);
}

/**
 * Parses and normalises a reference as `docker pull` would: `nginx` is `docker.io/library/nginx:latest`.
 * Throws REFERENCE with the reason and, for common mistakes, the way out.
 */
export function parseReference(input: string): Reference {
  const fail = (reason: string, hint?: string): never => {
    const shown = quoted(input, maxInputLength);
    throw new AppError("REFERENCE", `Cannot read image reference ${shown}: ${reason}`, { hint });
  };
  if (input === "") fail("it is empty");
  if (input.length > maxInputLength) fail("it is too long");
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(input)?.[0];
  if (scheme !== undefined) fail(`it begins with ${scheme}`, `leave ${scheme} out`);
  if (loginPattern.test(input)) fail("it holds a user name", "leave it out and log in to the registry");
  if (/^[0-9a-f]{64}$/.test(input))
    fail("it is an image ID", "write the name of the image, or name@sha256:<id>");

  const at = input.indexOf("@");
  const digest = at < 0 ? undefined : parseDigestPart(input.slice(at + 1), fail);
  const named = at < 0 ? input : input.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const name = hasTag ? named.slice(0, colon) : named;
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !tagPattern.test(tag)) {
    fail(tag === "" ? "the tag is empty" : `${quoted(tag)} is not a tag`);
  }

  const { registry, repository } = splitName(name);
  if (!domainPattern.test(registry)) fail(`${quoted(registry)} is not a registry host`);
  if (!repositoryPattern.test(repository)) {
    const lower = repository.toLowerCase();
    const path = registry === "docker.io" ? lower.replace(/^library\//, "") : `${registry}/${lower}`;
    const proposed = `${path}${input.slice(name.length)}`;
    if (repositoryPattern.test(lower)) fail("the repository must be lower case", `write ${proposed}`);
    fail(repository === "" ? "there is no repository" : `${quoted(repository)} is not a repository name`);
  }
  if (repository.length > maxRepositoryLength)
    fail(`the repository is over ${maxRepositoryLength} characters long`);
  const found = tag ?? (digest === undefined ? "latest" : undefined);
  return {
    registry,
    repository,
    ...(found === undefined ? {} : { tag: found }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The full normal form: `docker.io/library/nginx:1.27`, with `@digest` behind it if there is one. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}

/** What to ask a registry for: the digest where there is one, otherwise the tag. */
export function tagOrDigest(reference: Reference): string {
  const found = reference.digest ?? reference.tag;
  if (found === undefined) throw new AppError("INTERNAL", "a reference has neither tag nor digest");
  return found;
}

function parseDigestPart(text: string, fail: (reason: string, hint?: string) => never): Digest {
  const parsed = Digest.safeParse(text);
  if (parsed.success) return parsed.data;
  if (Digest.safeParse(text.toLowerCase()).success) return fail("the digest must be lower case");
  return fail(`${quoted(text)} is not a digest`, "a digest is sha256:<64 hex> or sha512:<128 hex>");
}

/** The domain rule of distribution/reference: the first component is a host only if it looks like one. */
function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  const isHost = slash >= 0 && (first === "localhost" || /[.:A-Z]/.test(first) || first === "");
  const registry = isHost ? first : "docker.io";
  const rest = isHost ? name.slice(slash + 1) : name;
  const folded = dockerHubNames.has(registry) ? "docker.io" : registry;
  const repository = folded === "docker.io" && rest !== "" && !rest.includes("/") ? `library/${rest}` : rest;
  return { registry: folded, repository };
}
