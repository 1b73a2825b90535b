/** The log of the test registry: what came in, in the order in which it began. */
import type { IncomingHttpHeaders } from "node:http";
import type { Origin } from "./http.ts";

/** One request. Its figures grow while it is served. */
export interface LoggedRequest {
  readonly origin: Origin;
  readonly method: string;
  /** Decoded path without the query. */
  readonly path: string;
  /** Path and query as they were sent. */
  readonly url: string;
  readonly headers: Readonly<IncomingHttpHeaders>;
  /** 0 until there is an answer, and for a request that got none. */
  readonly status: number;
  /** Bytes of the request's body that were read. */
  readonly bytesIn: number;
  /** Bytes of the answer's body that left. */
  readonly bytesOut: number;
  /** Milliseconds on the process's monotonic clock. */
  readonly startedAt: number;
  /** Undefined while the request is open. */
  readonly endedAt: number | undefined;
}

/** The same, for the server that fills it. */
export type OpenRequest = { -readonly [Key in keyof LoggedRequest]: LoggedRequest[Key] };

export class RequestLog {
  #entries: OpenRequest[] = [];

  get entries(): readonly LoggedRequest[] {
    return this.#entries;
  }

  open(request: Pick<LoggedRequest, "origin" | "method" | "path" | "url" | "headers">): OpenRequest {
    const entry: OpenRequest = {
      ...request,
      status: 0,
      bytesIn: 0,
      bytesOut: 0,
      startedAt: performance.now(),
      endedAt: undefined,
    };
    this.#entries.push(entry);
    return entry;
  }

  clear(): void {
    this.#entries = [];
  }

  /** How many requests had this method and a path, or a path with query, that the pattern finds. */
  count(method: string, pattern: RegExp): number {
    return this.#entries.filter(
      (entry) => entry.method === method && (pattern.test(entry.path) || pattern.test(entry.url)),
    ).length;
  }
}
