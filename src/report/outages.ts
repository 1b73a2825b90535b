/** Keeps an outage of a whole host to two lines: everybody who asks it meets the same, over and over. */
import { type AppError, isAppError } from "../errors.ts";

/** What a proxy answers for a registry that is away. */
const awayStatuses: ReadonlySet<unknown> = new Set([502, 503, 504]);
/** So many failures without an answer in between are more than a slip. */
const outageFailures = 3;

/** The hosts that are away, as far as the events tell. */
export class Outages {
  /** Failures in a row, by host. */
  readonly #failures = new Map<string, number>();

  /** True if a failure is worth a line: it is no outage, or the first that is met of it. */
  tells(cause: AppError): boolean {
    const host = awayHost(cause);
    if (host === undefined) return true;
    const failures = this.#failures.get(host) ?? 0;
    this.#failures.set(host, failures + 1);
    return failures === 0;
  }

  /** A host has answered. True if that is worth a line. */
  ends(host: string): boolean {
    const failures = this.#failures.get(host) ?? 0;
    this.#failures.delete(host);
    return failures >= outageFailures;
  }
}

/** The host that did not answer; undefined where something else is wrong. */
function awayHost(cause: AppError): string | undefined {
  const { host, url, status } = cause.details ?? {};
  if (isAppError(cause, "NETWORK") && typeof host === "string") return host;
  if (awayStatuses.has(status) && typeof url === "string") return new URL(url).host;
  return undefined;
}
