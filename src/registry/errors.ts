/** A registry's answer, or the lack of one, as an error that a person can act on. No secret ever gets in. */
import { AppError, type ErrorCode, isAppError } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { withoutLogins } from "../oci/shown.ts";
import { formatRateLimit, parseRetryAfter, type RateLimit } from "./rate-limit.ts";

/** No more of an error body than this is read, in bytes. */
export const maxErrorBytes = 64 * 1024;
const maxMessageLength = 300;
/** Of a text from a server, so much is looked at for what must not be shown. UTF-16 units. */
const maxLookedAt = 4096;

/** One entry of the error body of distribution-spec "Error Codes". */
export interface RegistryProblem {
  readonly code: string;
  readonly message: string;
  /** The digests that its detail (or else its message) names; left out if there are none. */
  readonly digests?: readonly Digest[];
}

/** What an answer says about its request; the URL is for messages and redacted by {@link describeUrl}. */
export interface FailedAnswer {
  readonly method: string;
  readonly url: URL;
  readonly status: number;
  readonly body: string;
  readonly requestId?: string | undefined;
  /** The header `Retry-After`. */
  readonly retryAfter?: string | undefined;
  readonly rateLimit?: RateLimit | undefined;
  readonly upload?: UploadPosition | undefined;
  /** Where the credential was found that the request was sent with, if it is that which is refused. */
  readonly credential?: string | undefined;
}

/** What an answer tells of an upload session, refusals included; secret, as the location may be signed. */
export interface UploadPosition {
  readonly location: string | undefined;
  readonly range: string | undefined;
}

const passingStatuses: ReadonlySet<number> = new Set([
  408, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527,
]);

/** An error answer of a registry, with its status and the codes of its body. */
export class RegistryError extends AppError {
  readonly status: number;
  readonly problems: readonly RegistryProblem[];
  /** How long the registry asks us to stay away, in milliseconds; undefined if it does not say. */
  readonly retryAfterMs: number | undefined;
  /** True if we ask too much of the registry: what it limits are all requests, not just this one. */
  readonly limited: boolean;
  /** Where the credential was found that was refused. */
  readonly credential: string | undefined;
  /** Where an upload goes on, if the answer tells; never part of a message. */
  readonly #upload: UploadPosition | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    answer: FailedAnswer,
    problems: readonly RegistryProblem[],
    hint?: string,
  ) {
    super(code, message, {
      hint,
      details: {
        method: answer.method,
        url: describeUrl(answer.url),
        status: answer.status,
        ...(problems.length === 0 ? {} : { codes: problems.map((problem) => problem.code) }),
        ...(answer.requestId === undefined ? {} : { requestId: answer.requestId }),
      },
    });
    this.status = answer.status;
    this.problems = problems;
    this.retryAfterMs = parseRetryAfter(answer.retryAfter);
    // Some say it with 403, or with the 400 of a ThrottlingException.
    const said = [400, 403].includes(answer.status) && /rate limit|throttl/i.test(answer.body);
    this.limited = answer.status === 429 || this.has("TOOMANYREQUESTS") || said;
    this.credential = answer.credential;
    this.#upload = answer.upload;
  }

  /** Where an upload goes on, if the answer tells that. */
  get upload(): UploadPosition | undefined {
    return this.#upload;
  }

  /** True for an answer that may be another one with the next try (protocol notes 10.1). */
  get passing(): boolean {
    // distribution 2.8 refuses foreign layers with a 500 that names them (protocol notes 4.7).
    if (this.has("MANIFEST_BLOB_UNKNOWN")) return false;
    return passingStatuses.has(this.status) || this.limited || this.has("UNAVAILABLE");
  }

  /** True if the body names this code of distribution-spec. */
  has(code: string): boolean {
    return this.problems.some((problem) => problem.code === code);
  }
}

/** True for failures that may be gone with the next try. */
export function isPassing(error: unknown): error is AppError {
  return isAppError(error, "NETWORK") || (error instanceof RegistryError && error.passing);
}

/** True where a registry says that we ask too much of it. */
export function isLimited(error: AppError): boolean {
  return error instanceof RegistryError && error.limited;
}

/** Scheme, host and path. The query may hold signatures and session state, so it never gets into a message. */
export function describeUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === "" ? "" : "?…"}`;
}

/** Reads the JSON error body; anything else (HTML of a proxy, plain text) gives no problems. */
export function parseProblems(body: string): readonly RegistryProblem[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return [];
  }
  const list =
    typeof parsed === "object" && parsed !== null && "errors" in parsed ? parsed.errors : undefined;
  if (!Array.isArray(list)) return [];
  return list.slice(0, 20).flatMap((entry: unknown) => {
    if (typeof entry !== "object" || entry === null) return [];
    const code = "code" in entry && typeof entry.code === "string" ? entry.code : "UNKNOWN";
    const message = "message" in entry && typeof entry.message === "string" ? entry.message : "";
    const named = digestsIn(`${"detail" in entry ? JSON.stringify(entry.detail) : ""} ${message}`);
    const digests = named.length === 0 ? {} : { digests: named };
    return [{ code: printable(code), message: printable(message), ...digests }];
  });
}

function digestsIn(text: string): readonly Digest[] {
  const found = text.match(/\b(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\b/g) ?? [];
  return [...new Set(found)].filter(isDigest);
}

/**
 * The error for an answer with an unexpected status. `what` names the thing: `the tag 1.0 of 10.0.0.1/app`;
 * `credential` is where the credential was found that was refused.
 */
export function answerError(what: string, answer: FailedAnswer, credential?: string): RegistryError {
  const problems = parseProblems(answer.body);
  const host = answer.url.host;
  const said = problems
    .map((problem) => [problem.code, problem.message].filter((part) => part !== "").join(" "))
    .join("; ");
  const text = problems.length === 0 && !/^\s*</.test(answer.body) ? printable(answer.body.trim()) : "";
  const used = credential === undefined ? "" : ` (credentials from ${credential})`;
  const reason = (said || text ? `: ${said || text}` : "") + used;
  const full = (state: string): string =>
    `Cannot ${what}: ${host} answered ${answer.status}${state}${reason}`;
  const make = (code: ErrorCode, state: string, hint?: string): RegistryError =>
    new RegistryError(code, full(state), { ...answer, credential }, problems, hint);
  switch (answer.status) {
    case 401:
      return make(
        "AUTH",
        " (not authenticated)",
        credential === undefined
          ? `log in to ${host}: mirror login ${host}`
          : `log in again: mirror login ${host}`,
      );
    case 403:
      return make(
        "DENIED",
        ["GET", "HEAD"].includes(answer.method) ? " (denied)" : " (denied: no push access)",
        `check that your account has the right to do this on ${host}`,
      );
    case 404:
      return make("NOT_FOUND", " (not found)");
    case 405:
    case 501:
      return make("REGISTRY", " (not supported)", "the registry is read-only, or does not offer this");
    case 413:
      return make(
        "REGISTRY",
        " (too large)",
        "a proxy in front of the registry limits the size of requests: raise its limit (nginx: client_max_body_size)",
      );
    case 429:
      return make(
        "REGISTRY",
        ` (too many requests${formatRateLimit(answer.rateLimit, parseRetryAfter(answer.retryAfter))})`,
        "wait for the limit to renew, log in to get a higher one, or lower the concurrency",
      );
    case 507:
      return make("REGISTRY", " (no space left)", `make room on the disk of ${host}`);
    default:
      return make("REGISTRY", "", answer.status >= 500 ? brokenHint(answer.status, host) : undefined);
  }
}

/** A 502 or 504 is of a proxy that did not get to the registry: the registry's log has nothing of it. */
function brokenHint(status: number, host: string): string {
  if (status !== 502 && status !== 504) return `look at the log of ${host}`;
  return `check that the registry behind the proxy at ${host} is running, and can be reached from there`;
}

/** Text from a server on one line, without control characters and not longer than a person reads. */
export function printable(text: string): string {
  // Format characters too: some turn the direction of what follows, or cannot be seen.
  const line = text.slice(0, maxLookedAt).replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ");
  const clean = withoutLogins(line).trim();
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength)}…` : clean;
}
