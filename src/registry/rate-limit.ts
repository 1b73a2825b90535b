/** What registries say about their limits: Docker Hub's `ratelimit-*` headers, and `Retry-After` (RFC 9110 §10.2.3). */

/** A limit on requests, as far as the registry tells. */
export interface RateLimit {
  /** Requests in a window. */
  readonly limit?: number;
  /** Requests left in it. */
  readonly remaining?: number;
  /** Length of the window in seconds. */
  readonly windowSeconds?: number;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`; undefined without them (no limit). */
export function parseRateLimit(headers: Headers): RateLimit | undefined {
  const limit = parseCount(headers["ratelimit-limit"]);
  const remaining = parseCount(headers["ratelimit-remaining"]);
  if (limit === undefined && remaining === undefined) return undefined;
  const windowSeconds = limit?.windowSeconds ?? remaining?.windowSeconds;
  return {
    ...(limit === undefined ? {} : { limit: limit.count }),
    ...(remaining === undefined ? {} : { remaining: remaining.count }),
    ...(windowSeconds === undefined ? {} : { windowSeconds }),
  };
}

/** How long to stay away, in milliseconds, from seconds or a date; undefined for neither. What is past is 0. */
export function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^-?\d+$/.test(text)) return Math.max(Number(text), 0) * 1000;
  // Date.parse takes a lot for a date; one of HTTP names its day.
  if (!/^[A-Za-z]{3,9},? /.test(text)) return undefined;
  const ms = Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}

/** The end of a message: `; limit 100 in 6 h, 0 remaining, renews in 20 min`. Empty if nothing is known. */
export function formatRateLimit(rate: RateLimit | undefined, resetMs: number | undefined): string {
  const window = rate?.windowSeconds === undefined ? "" : ` in ${formatWait(rate.windowSeconds * 1000)}`;
  const parts = [
    ...(rate?.limit === undefined ? [] : [`limit ${rate.limit}${window}`]),
    ...(rate?.remaining === undefined ? [] : [`${rate.remaining} remaining`]),
    ...(resetMs === undefined ? [] : [`renews in ${formatWait(resetMs)}`]),
  ];
  return parts.length === 0 ? "" : `; ${parts.join(", ")}`;
}

/** A span of time as people say it: `45 s`, `20 min`, `5 h 40 min`. */
export function formatWait(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  return rest === 0 ? `${hours} h` : `${hours} h ${rest} min`;
}

function parseCount(
  value: string | string[] | undefined,
): { readonly count: number; readonly windowSeconds?: number } | undefined {
  const text = typeof value === "string" ? value : value?.[0];
  const [, count, window] = /^\s*(\d{1,15})\s*(?:;\s*w=(\d{1,9}))?/i.exec(text ?? "") ?? [];
  if (count === undefined) return undefined;
  return { count: Number(count), ...(window === undefined ? {} : { windowSeconds: Number(window) }) };
}
