/** Manifests: HEAD, GET, PUT and DELETE with the checks of distribution 2.8. */
import { algorithmOf, digestOf, isDigest } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { RegistryContent, StoredManifest } from "./content.ts";
import { errorReply, methodNotAllowed, RegistryError, type RegistryErrorEntry } from "./errors.ts";
import { header, type RegistryRequest, type Reply, readBody } from "./http.ts";

const maxManifestBytes = 4 * 1024 * 1024;

interface ManifestTarget {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
}

interface Entry {
  readonly mediaType?: string;
  readonly digest?: string;
  readonly urls?: readonly string[];
  readonly platform?: { readonly os?: string; readonly architecture?: string };
}

interface Document {
  readonly mediaType?: string;
  readonly config?: Entry;
  readonly layers?: readonly Entry[];
  readonly manifests?: readonly Entry[];
}

/** Answers a request for one manifest. `untag`: a DELETE by tag removes the tag (from distribution 3 on). */
export async function answerManifest(
  request: RegistryRequest,
  content: RegistryContent,
  target: ManifestTarget,
  untag: boolean,
): Promise<Reply> {
  switch (request.method) {
    case "GET":
    case "HEAD":
      return getManifest(request, content, target);
    case "PUT":
      return putManifest(request, content, target);
    case "DELETE":
      return deleteManifest(content, target, untag);
    default:
      return methodNotAllowed("DELETE", "GET", "HEAD", "PUT");
  }
}

function getManifest(request: RegistryRequest, content: RegistryContent, target: ManifestTarget): Reply {
  const { repository, reference } = target;
  const found = content.findManifest(repository, reference);
  if (found === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { Tag: reference });
  const accepted = acceptedTypes(request);
  const served = negotiate(found, content, target, accepted);
  if (header(request, "if-none-match")?.replaceAll('"', "") === served.digest) return { status: 304 };
  return {
    status: 200,
    headers: {
      "content-type": served.mediaType,
      "docker-content-digest": served.digest,
      etag: `"${served.digest}"`,
    },
    body: [served.bytes],
  };
}

/**
 * What 2.8 serves of a manifest to a client that accepts only some types. It does not understand wildcards:
 * OCI types must be named, Docker ones are converted when they are asked for by tag.
 */
function negotiate(
  found: StoredManifest,
  content: RegistryContent,
  target: ManifestTarget,
  accepted: ReadonlySet<string>,
): StoredManifest {
  if (accepted.has(found.mediaType)) return found;
  if (found.mediaType === mediaTypes.ociManifest) throw unaccepted("OCI manifest", "OCI manifests");
  if (found.mediaType === mediaTypes.ociIndex) throw unaccepted("OCI index", "OCI indexes");
  if (isDigest(target.reference)) return found;
  if (found.mediaType === mediaTypes.dockerManifest) return schema1Of(found, target);
  const child = parse(found.bytes).manifests?.find(
    ({ platform }) => platform?.os === "linux" && platform.architecture === "amd64",
  );
  const image = content.findManifest(target.repository, child?.digest ?? "");
  if (image === undefined) throw new RegistryError("MANIFEST_UNKNOWN");
  return accepted.has(image.mediaType) ? image : schema1Of(image, target);
}

function unaccepted(what: string, types: string): RegistryError {
  return new RegistryError(
    "MANIFEST_UNKNOWN",
    undefined,
    `${what} found, but accept header does not support ${types}`,
  );
}

/** A stand-in for the converted image: its type, and a digest that nobody else has, are what clients notice. */
function schema1Of(image: StoredManifest, target: ManifestTarget): StoredManifest {
  const document = {
    schemaVersion: 1,
    name: target.repository,
    tag: target.reference,
    fsLayers: [],
    history: [{ v1Compatibility: JSON.stringify({ id: image.digest }) }],
  };
  const bytes = Buffer.from(JSON.stringify(document));
  return { digest: digestOf(bytes), mediaType: mediaTypes.dockerSchema1Signed, bytes };
}

async function putManifest(
  request: RegistryRequest,
  content: RegistryContent,
  target: ManifestTarget,
): Promise<Reply> {
  const { repository, reference } = target;
  // Reads more than it takes: an answer in the middle of a body is a misbehaviour of its own.
  const bytes = await readBody(request, 16 * maxManifestBytes);
  if (bytes === undefined || bytes.byteLength > maxManifestBytes)
    throw new RegistryError("MANIFEST_INVALID", "http: request body too large");
  const mediaType = (header(request, "content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const document = checked(bytes, mediaType);
  const byDigest = isDigest(reference);
  if (byDigest && digestOf(bytes, algorithmOf(reference)) !== reference)
    throw new RegistryError("DIGEST_INVALID");
  const errors = missing(document, content, repository);
  if (errors.length > 0) return errorReply(errors);
  // Under another digest than sha256, 2.8 answers with that of sha256 all the same (protocol notes 4.6).
  const stored = byDigest
    ? content.putManifest(repository, undefined, bytes, mediaType, reference)
    : content.putManifest(repository, reference, bytes, mediaType);
  return {
    status: 201,
    headers: {
      location: `${request.base}/v2/${repository}/manifests/${stored}`,
      "docker-content-digest": stored,
    },
  };
}

/** The document if its type and shape agree. Throws MANIFEST_INVALID. */
function checked(bytes: Buffer, mediaType: string): Document {
  const invalid = (detail: string): RegistryError => new RegistryError("MANIFEST_INVALID", detail);
  const document = parse(bytes);
  const isIndex = mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerList;
  const isImage = mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
  if (!isIndex && !isImage)
    throw invalid(`unsupported manifest media type and no default available: ${mediaType}`);
  const isDocker = mediaType === mediaTypes.dockerManifest || mediaType === mediaTypes.dockerList;
  if (document.mediaType === undefined ? isDocker : document.mediaType !== mediaType) {
    throw invalid(`mediaType in manifest should be '${mediaType}' not '${document.mediaType ?? ""}'`);
  }
  const images = document.config !== undefined || document.layers !== undefined;
  if (isIndex ? images : document.manifests !== undefined) throw invalid("index and image at once");
  if (isImage && document.config === undefined) throw invalid("no config");
  return document;
}

/** One entry for everything that the document leads to and the repository lacks. */
function missing(
  document: Document,
  content: RegistryContent,
  repository: string,
): readonly RegistryErrorEntry[] {
  const unknown = (digest = ""): RegistryErrorEntry => ({
    code: "MANIFEST_BLOB_UNKNOWN",
    detail: { digest },
  });
  const errors: RegistryErrorEntry[] = [];
  for (const { digest, urls } of [
    ...(document.config ? [document.config] : []),
    ...(document.layers ?? []),
  ]) {
    // 2.8 allows no foreign URL unless it is configured, and says so with a 500.
    if ((urls ?? []).length > 0) {
      errors.unshift({ code: "UNKNOWN", detail: "invalid URL on layer" });
      errors.push(unknown(digest));
    } else if (content.findBlob(repository, digest ?? "") === undefined) errors.push(unknown(digest));
  }
  for (const { digest } of document.manifests ?? []) {
    if (content.findManifest(repository, digest ?? "") === undefined) errors.push(unknown(digest));
  }
  return errors;
}

function deleteManifest(content: RegistryContent, target: ManifestTarget, untag: boolean): Reply {
  const { repository, reference } = target;
  const unknown = new RegistryError("MANIFEST_UNKNOWN");
  if (isDigest(reference)) {
    if (!content.deleteManifest(repository, reference)) throw unknown;
    return { status: 202 };
  }
  if (!untag) throw new RegistryError("DIGEST_INVALID");
  if (!content.deleteTag(repository, reference)) throw unknown;
  return { status: 202 };
}

/** The types of the Accept header, without parameters. */
function acceptedTypes(request: RegistryRequest): ReadonlySet<string> {
  const types = (header(request, "accept") ?? "").split(",");
  return new Set(types.map((type) => (type.split(";", 1)[0] ?? "").trim().toLowerCase()));
}

function parse(bytes: Buffer): Document {
  try {
    const document: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof document === "object" && document !== null && !Array.isArray(document)) return document;
  } catch {
    // Answered below, like any other document that is none.
  }
  throw new RegistryError("MANIFEST_INVALID", "not a JSON object");
}
