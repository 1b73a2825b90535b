/** The requests about manifests (distribution-spec "Pulling manifests", "Pushing Manifests"). */
import { isDigest } from "../oci/digest.ts";
import { manifestAccept } from "../oci/media-types.ts";
import type { RegistryClient } from "./client.ts";
import type { RegistryRequest } from "./request.ts";
import { pullScope, pushScope } from "./scopes.ts";

/** A repository of a registry. */
export interface RepositoryPlace {
  readonly client: RegistryClient;
  readonly repository: string;
}

/** What people call the manifest behind a tag or a digest: `host/repository:tag`, `host/repository@digest`. */
export function manifestName({ client, repository }: RepositoryPlace, reference: string): string {
  return `${client.registry}/${repository}${isDigest(reference) ? "@" : ":"}${reference}`;
}

/** HEAD of a manifest; that there is none, or that it is not to be asked for so, is an answer. */
export function headManifest(
  place: RepositoryPlace,
  reference: string,
  signal: AbortSignal | undefined,
): RegistryRequest {
  const what = `look for ${manifestName(place, reference)}`;
  return { ...asking(place, reference), method: "HEAD", what, signal, accept: [200, 404, 405] };
}

/** GET of a manifest; that there is none is an answer. */
export function getManifest(
  place: RepositoryPlace,
  reference: string,
  signal: AbortSignal | undefined,
): RegistryRequest {
  const what = `read ${manifestName(place, reference)}`;
  return { ...asking(place, reference), method: "GET", what, signal, accept: [200, 404] };
}

/** PUT of a manifest. */
export function putManifest(
  place: RepositoryPlace,
  reference: string,
  { bytes, mediaType }: { readonly bytes: Buffer; readonly mediaType: string },
  signal: AbortSignal | undefined,
): RegistryRequest {
  return {
    method: "PUT",
    path: pathOf(place, reference),
    what: `write ${manifestName(place, reference)}`,
    scopes: [pushScope(place.repository)],
    headers: { "content-type": mediaType },
    body: bytes,
    signal,
    accept: [200, 201, 202, 204],
  };
}

function asking(
  place: RepositoryPlace,
  reference: string,
): Pick<RegistryRequest, "path" | "scopes" | "headers"> {
  return {
    path: pathOf(place, reference),
    scopes: [pullScope(place.repository)],
    headers: { accept: manifestAccept },
  };
}

function pathOf({ repository }: RepositoryPlace, reference: string): string {
  return `/v2/${repository}/manifests/${reference}`;
}
