/** From a request to the handler of its path, on each of the registry's origins. */
import { answerBlob } from "./blobs.ts";
import type { RegistryContent } from "./content.ts";
import { notFoundPage } from "./errors.ts";
import type { RegistryRequest, Reply } from "./http.ts";
import { answerCatalog, answerTags } from "./listing.ts";
import { answerManifest } from "./manifests.ts";
import { routeOf } from "./routes.ts";
import { answerStart, answerUpload, type Dialect, type Uploads } from "./uploads.ts";

/** What the handlers work on. */
export interface Services {
  readonly content: RegistryContent;
  readonly uploads: Uploads;
  readonly dialect: Dialect;
}

/** Answers a request to the registry itself. Throws RegistryError. */
export function answerRegistry(request: RegistryRequest, services: Services): Reply | Promise<Reply> {
  const { content, uploads, dialect } = services;
  const route = routeOf(request.path);
  switch (route?.kind) {
    case undefined:
      return notFoundPage();
    case "base":
      return {
        status: 200,
        headers: { "content-type": "application/json; charset=utf-8" },
        body: [Buffer.from("{}")],
      };
    case "slash":
      return { status: 301, headers: { location: `${request.path}/` } };
    case "catalog":
      return answerCatalog(request, content);
    case "tags":
      return answerTags(request, content, route.repository, dialect);
    case "manifest":
      return answerManifest(request, content, route, dialect === "3");
    case "blob":
      return answerBlob(request, content, route);
    case "uploads":
      return answerStart(request, content, uploads, route.repository);
    case "upload":
      return answerUpload(request, services, route);
  }
}

/** Answers as a bucket does to a signed URL: no other credentials beside the signature. Throws RegistryError. */
export function answerStorage(request: RegistryRequest, content: RegistryContent, signature: string): Reply {
  const refusal = (status: number): Reply => ({
    status,
    headers: { "content-type": "application/xml" },
    body: [Buffer.from("<Error><Code>AccessDenied</Code></Error>")],
  });
  if (request.headers.authorization !== undefined) return refusal(400);
  if (request.query.get("signature") !== signature) return refusal(403);
  const [, repository = "", digest = ""] = /^\/storage\/(.+)\/blobs\/([^/]+)$/.exec(request.path) ?? [];
  return answerBlob(request, content, { repository, digest });
}
