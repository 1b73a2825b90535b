/** Where an upload goes: a repository, and in it a session. */
import { AppError } from "../../errors.ts";
import type { RegistryClient } from "../client.ts";
import { type Answer, singleHeader } from "../http.ts";

/** The repository that the blob goes to. */
export interface UploadPlace {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly scopes: readonly string[];
}

/** Resolves the Location of an upload answer against the request that it answers; opaque in all else. */
export function sessionLocation(answer: Answer, place: UploadPlace): URL {
  const text = singleHeader(answer, "location");
  if (text === undefined || !URL.canParse(text, answer.url.href)) {
    throw new AppError(
      "REGISTRY",
      `Cannot upload to ${place.client.registry}/${place.repository}: the answer names no upload location`,
    );
  }
  const url = new URL(text, answer.url);
  // A proxy that does not pass on scheme and port (X-Forwarded-Proto, Host) makes the registry name itself with
  // http, or without its port (oras-project/oras-go#177).
  const sameName = url.hostname === answer.url.hostname && (url.port === answer.url.port || url.port === "");
  if (sameName && (url.protocol === "http:" || url.protocol === answer.url.protocol)) {
    url.protocol = answer.url.protocol;
    url.port = answer.url.port;
  }
  const astray = url.host !== answer.url.host && !place.client.guard.allows(url.host);
  if (url.protocol !== answer.url.protocol || url.username !== "" || url.password !== "" || astray) {
    throw new AppError(
      "REGISTRY",
      `Cannot upload to ${place.client.registry}/${place.repository}: the upload location ${url.protocol}//${url.host} is not safe to follow`,
      {
        hint: "check the X-Forwarded-Proto and X-Forwarded-Host headers of the registry's proxy",
      },
    );
  }
  return url;
}
