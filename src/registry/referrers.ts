/** Who refers to a manifest: signatures, SBOMs, attestations (distribution-spec "Listing Referrers"). */
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { maxDescriptors, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-types.ts";
import { parseProblems } from "./errors.ts";
import { singleHeader } from "./http.ts";
import { nextPage, noSuchRepository } from "./listing.ts";
import { manifestName, type RepositoryPlace } from "./manifest-requests.ts";
import { Manifests } from "./manifests.ts";
import { readReferrersTag } from "./referrers-tag.ts";
import { pullScope } from "./scopes.ts";
import { requestWhole, type WholeAnswer } from "./whole.ts";

/** A manifest that refers to another one. Its size is that of the manifest itself, in bytes. */
export interface Referrer {
  readonly descriptor: Descriptor;
  /** Of the artifact; left out where nobody says it. */
  readonly artifactType?: string | undefined;
  /** The tag that it was found by, where that is cosign's `sha256-HEX.sig`, `.att` or `.sbom`. */
  readonly tag?: string;
}

export interface ReferrersOptions {
  /** Only these. */
  readonly artifactType?: string;
  readonly signal?: AbortSignal | undefined;
}

/** What registries without this API answer to it (404 is looked at further). */
const unsupportedStatuses = [400, 403, 404, 405, 406, 501] as const;
const cosignEndings = ["sig", "att", "sbom"] as const;

/**
 * Everything that refers to a manifest: by the registry's own account and by the referrers tag, each once, and by
 * cosign's tags. Throws NOT_FOUND if there is no such repository, and what the registry answered otherwise.
 */
export async function listReferrers(
  place: RepositoryPlace,
  subject: Digest,
  options: ReferrersOptions = {},
): Promise<readonly Referrer[]> {
  const { artifactType, signal } = options;
  const told = await askRegistry(place, subject, options);
  // A registry that got the API later may still hold what clients recorded before.
  const tagged = await readReferrersTag(place, subject, signal);
  const recorded = tagged === undefined || tagged === "other" ? [] : tagged.index.manifests;
  const wanted = recorded.filter(
    (entry) => artifactType === undefined || entry.artifactType === artifactType,
  );
  const found = new Map<Digest, Referrer>();
  for (const descriptor of [...told, ...wanted]) {
    if (!found.has(descriptor.digest))
      found.set(descriptor.digest, { descriptor, artifactType: descriptor.artifactType });
  }
  const signed = artifactType === undefined ? await cosignTags(place, subject, signal) : [];
  return [...found.values(), ...signed.filter(({ descriptor }) => !found.has(descriptor.digest))];
}

/** The referrers API, page by page; nothing where the registry does not have it. */
async function askRegistry(
  place: RepositoryPlace,
  subject: Digest,
  { artifactType, signal }: ReferrersOptions,
): Promise<readonly Descriptor[]> {
  const { client, repository } = place;
  const what = `list what refers to ${manifestName(place, subject)}`;
  const query = artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(artifactType)}`;
  const found: Descriptor[] = [];
  const seen = new Set<string>();
  let at: string | URL | undefined = `/v2/${repository}/referrers/${subject}${query}`;
  while (at !== undefined) {
    if (seen.has(String(at)) || found.length > maxDescriptors)
      throw new AppError("REGISTRY", `Cannot ${what}: its pages never end`);
    seen.add(String(at));
    const wanted = {
      method: "GET",
      path: at,
      what,
      scopes: [pullScope(repository)],
      headers: { accept: mediaTypes.ociIndex },
      signal,
      accept: [200, ...unsupportedStatuses],
    } as const;
    const { answer, bytes }: WholeAnswer = await requestWhole(client, wanted, maxManifestBytes);
    const unknown = parseProblems(bytes.toString("utf8")).some(({ code }) => code === "NAME_UNKNOWN");
    if (answer.status === 404 && unknown) throw noSuchRepository(client, what);
    const page = answer.status === 200 ? pageOf(bytes, what) : undefined;
    if (page === undefined) return found;
    const filtered = singleHeader(answer, "oci-filters-applied")
      ?.split(",")
      .map((name) => name.trim());
    const whole = artifactType === undefined || filtered?.includes("artifactType") === true;
    found.push(...page.filter((entry) => whole || entry.artifactType === artifactType));
    at = nextPage(answer, what, client.guard);
  }
  return found;
}

/** The entries of an answer; undefined if it is no index: some registries answer any path with 200 and a page. */
function pageOf(bytes: Buffer, name: string): readonly Descriptor[] | undefined {
  try {
    const parsed = parseManifest(bytes, "", name);
    return parsed.kind === "index" ? parsed.manifests : undefined;
  } catch (error) {
    if (!isAppError(error, "INTEGRITY", "REGISTRY")) throw error;
    return undefined;
  }
}

/** What cosign attaches by tags of its own, which no specification knows. */
async function cosignTags(
  { client, repository }: RepositoryPlace,
  subject: Digest,
  signal?: AbortSignal,
): Promise<readonly Referrer[]> {
  const manifests = new Manifests(client, repository);
  const asked = cosignEndings.map(async (ending): Promise<readonly Referrer[]> => {
    const tag = `${algorithmOf(subject)}-${hexOf(subject)}.${ending}`;
    // sha512 makes no tag (128 characters at most).
    if (tag.length > 128) return [];
    try {
      return [{ descriptor: await manifests.resolve(tag, { signal }), tag }];
    } catch (error) {
      if (isAppError(error, "NOT_FOUND")) return [];
      throw error;
    }
  });
  return (await Promise.all(asked)).flat();
}
