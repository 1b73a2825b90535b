/** Where an upload goes: a repository, and in it a session whose location each answer tells anew. */
import { AppError, isAppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RegistryClient } from "../client.ts";
import { type Answer, singleHeader } from "../http.ts";

/** The repository that the blob goes to. */
export interface UploadPlace {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly scopes: readonly string[];
}

/** What the desk knows an upload by. */
export function uploadKey({ repository }: Pick<UploadPlace, "repository">, digest: Digest): string {
  return `${repository} ${digest}`;
}

/**
 * Resolves the Location of an upload answer against the request that it answers; opaque in all else (protocol notes
 * 6.3). Throws REGISTRY if there is none, or if it is not safe to follow.
 */
export function sessionLocation(answer: Answer, place: UploadPlace): URL {
  const text = singleHeader(answer, "location") ?? fromUploadId(answer, place);
  return resolveLocation(text, answer.url, place);
}

/** The same for a Location that is known already; `from` is the URL that gave it. */
export function resolveLocation(text: string | undefined, from: URL, place: UploadPlace): URL {
  const { client, repository } = place;
  const target = `${client.registry}/${repository}`;
  if (text === undefined || !URL.canParse(text, from.href)) {
    throw new AppError("REGISTRY", `Cannot upload to ${target}: the answer names no upload location`);
  }
  const url = new URL(text, from);
  // A proxy that does not pass on scheme and port (X-Forwarded-Proto, Host) makes the registry name itself with
  // http, or without its port (oras-project/oras-go#177).
  const sameName = url.hostname === from.hostname && (url.port === from.port || url.port === "");
  if (sameName && (url.protocol === "http:" || url.protocol === from.protocol)) {
    if (url.protocol !== from.protocol && client.manners.once("scheme")) {
      client.warn(
        `${client.registry} names its uploads with http:// although it is reached over TLS`,
        "let its proxy pass on the header X-Forwarded-Proto",
      );
    }
    url.protocol = from.protocol;
    url.port = from.port;
  }
  const astray = url.host !== from.host && !client.guard.allows(url.host);
  const extra = url.username !== "" || url.password !== "" || url.hash !== "";
  if (url.protocol !== from.protocol || extra || astray) {
    throw new AppError(
      "REGISTRY",
      `Cannot upload to ${target}: the upload location ${url.protocol}//${url.host} is not safe to follow`,
      { hint: "check the X-Forwarded-Proto and X-Forwarded-Host headers of the registry's proxy" },
    );
  }
  return url;
}

/**
 * The location of a session that was read from a disk, held to what an answer of the registry is held to; and no content
 * is behind it, which a request to end the session would delete. Undefined if it is not safe to follow.
 */
export function rememberedLocation(text: string, origin: URL, place: UploadPlace): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  try {
    const url = resolveLocation(text, origin, place);
    return /\/manifests\/|\/blobs\/[^/]*(?::|%3a)/i.test(url.pathname) ? undefined : url;
  } catch (error) {
    if (!isAppError(error, "REGISTRY")) throw error;
    return undefined;
  }
}

/** The last resort where the Location is missing: the path that distribution gives to an upload of this id. */
function fromUploadId(answer: Answer, place: UploadPlace): string | undefined {
  const id = singleHeader(answer, "docker-upload-uuid");
  if (id === undefined || !/^[A-Za-z0-9_.=-]+$/.test(id)) return undefined;
  return `/v2/${place.repository}/blobs/uploads/${id}`;
}
