/** The JSON errors of distribution-spec "Error Codes", with the status that distribution gives each of them. */
import type { Reply, ReplyHeaders } from "./http.ts";

const statuses = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 404,
  BLOB_UPLOAD_UNKNOWN: 404,
  DENIED: 403,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_UNKNOWN: 404,
  PAGINATION_NUMBER_INVALID: 400,
  RANGE_INVALID: 416,
  SIZE_INVALID: 400,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNKNOWN: 500,
  UNSUPPORTED: 405,
} as const;

const messages: Readonly<Record<keyof typeof statuses, string>> = {
  BLOB_UNKNOWN: "blob unknown to registry",
  BLOB_UPLOAD_INVALID: "blob upload invalid",
  BLOB_UPLOAD_UNKNOWN: "blob upload unknown to registry",
  DENIED: "requested access to the resource is denied",
  DIGEST_INVALID: "provided digest did not match uploaded content",
  MANIFEST_BLOB_UNKNOWN: "blob unknown to registry",
  MANIFEST_INVALID: "manifest invalid",
  MANIFEST_UNKNOWN: "manifest unknown",
  NAME_UNKNOWN: "repository name not known to registry",
  PAGINATION_NUMBER_INVALID: "invalid number of results requested",
  RANGE_INVALID: "invalid content range",
  SIZE_INVALID: "provided length did not match content length",
  TOOMANYREQUESTS: "too many requests",
  UNAUTHORIZED: "authentication required",
  UNKNOWN: "unknown error",
  UNSUPPORTED: "The operation is unsupported.",
};

export type RegistryErrorCode = keyof typeof statuses;

/** One entry of an error body. */
export interface RegistryErrorEntry {
  readonly code: RegistryErrorCode;
  readonly message?: string;
  readonly detail?: unknown;
}

/** Thrown by a handler to answer with one error. */
export class RegistryError extends Error {
  override readonly name = "RegistryError";
  readonly entry: RegistryErrorEntry;

  /** `message` replaces the standard one of the code. */
  constructor(code: RegistryErrorCode, detail?: unknown, message?: string) {
    super(code);
    this.entry = message === undefined ? { code, detail } : { code, detail, message };
  }
}

/** A reply with a JSON error body; the first entry decides the status. */
export function errorReply(entries: readonly RegistryErrorEntry[], headers: ReplyHeaders = {}): Reply {
  const errors = entries.map(({ code, message, detail }) => ({
    code,
    message: message ?? messages[code],
    detail,
  }));
  const code = entries[0]?.code ?? "UNKNOWN";
  return jsonReply(statuses[code], { errors }, headers);
}

/** A reply with a JSON body. */
export function jsonReply(status: number, value: unknown, headers: ReplyHeaders = {}): Reply {
  return {
    status,
    headers: { "content-type": "application/json; charset=utf-8", ...headers },
    body: [Buffer.from(`${JSON.stringify(value)}\n`)],
  };
}

/** What Go's handlers answer to a method that a path does not have; no error of the spec. */
export function methodNotAllowed(...allowed: readonly string[]): Reply {
  return {
    status: 405,
    headers: { allow: allowed.join(", "), "content-type": "text/plain; charset=utf-8" },
    body: [Buffer.from("Method not allowed\n")],
  };
}

/** What Go's router answers to a path that it does not know; no error of the spec. */
export function notFoundPage(): Reply {
  return {
    status: 404,
    headers: { "content-type": "text/plain; charset=utf-8" },
    body: [Buffer.from("404 page not found\n")],
  };
}
