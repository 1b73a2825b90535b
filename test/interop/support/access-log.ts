/** The access log of a docker-registry or an nginx, which tells what really went over the wire. */

/** One request. */
export interface LoggedRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  /** Query without the question mark; empty if there was none. */
  readonly query: string;
  readonly status: number;
  /** Bytes of the response's body. */
  readonly bytes: number;
  /** Address of the client. */
  readonly client: string;
  /** Its User-Agent; empty if it gave none. */
  readonly agent: string;
  /** When it was done, in milliseconds since 1970; NaN where the log has no such fine time (docker-registry's has not). */
  readonly at: number;
}

const linePattern =
  /^(\S+).*?"([A-Z]+) (\S+) HTTP\/[\d.]+" (\d{3}) (\d+)(?: "[^"]*" "([^"]*)")?(?:.* at=([\d.]+))?/;

/** Reads one line of Apache's combined format; undefined if it is not one. */
export function parseLogLine(line: string): LoggedRequest | undefined {
  const match = linePattern.exec(line);
  if (match === null) return undefined;
  const [, client = "", method = "", target = "", status = "", bytes = "", agent = "", seconds] = match;
  const [path = "", query = ""] = target.split("?", 2);
  const at = seconds === undefined ? Number.NaN : Number(seconds) * 1000;
  return { method, path, query, status: Number(status), bytes: Number(bytes), client, agent, at };
}

/** The requests that a registry has logged so far. */
export class AccessLog {
  readonly #requests: LoggedRequest[] = [];
  readonly #probe: (query: string) => Promise<unknown>;
  readonly #waiting = new Map<string, () => void>();
  #markers = 0;

  /** `probe` sends a request for /v2/ with a query. It marks a place in the log, and is not counted. */
  constructor(probe: (query: string) => Promise<unknown>) {
    this.#probe = probe;
  }

  /** Takes one line of the registry's output. */
  add(line: string): void {
    const request = parseLogLine(line);
    if (request === undefined) return;
    if (!request.query.startsWith("harness-probe=")) {
      this.#requests.push(request);
      return;
    }
    this.#waiting.get(request.query)?.();
    this.#waiting.delete(request.query);
  }

  /**
   * The requests up to now, in order of completion, those included whose line is still on its way: a marker request
   * is sent after them and its line awaited.
   */
  async requests(): Promise<readonly LoggedRequest[]> {
    this.#markers += 1;
    const query = `harness-probe=${this.#markers}`;
    const marked = new Promise<void>((settle) => this.#waiting.set(query, settle));
    await this.#probe(query);
    await marked;
    return [...this.#requests];
  }

  /** How many requests had this method and a path that matches. */
  async count(method: string, path: RegExp = /^/): Promise<number> {
    const all = await this.requests();
    return all.filter((request) => request.method === method && path.test(request.path)).length;
  }

  /** Forgets what was logged so far. */
  async clear(): Promise<void> {
    await this.requests();
    this.#requests.length = 0;
  }
}
