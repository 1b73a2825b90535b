/**
 * What a fault is, and the list of those that a registry has on. A fault takes a request before its handler
 * (to answer it, or to change it) or changes the reply on its way out; the table of named ones is faults.ts.
 */
import type { RegistryContent } from "./content.ts";
import type { RegistryRequest, Reply } from "./http.ts";
import type { Uploads } from "./uploads.ts";

/** What a fault may reach. */
export interface FaultContext {
  readonly content: RegistryContent;
  readonly uploads: Uploads;
  /** A signed URL of a blob on the storage origin. */
  readonly storageUrl: (repository: string, digest: string) => string;
}

/** An answer, `altered` if the request was changed and goes on, undefined if the fault does not concern it. */
export type Interception = Reply | "altered" | undefined;

/** One kind of misbehaviour. */
export interface Fault {
  /** Methods that it concerns; every one if left out. */
  readonly methods?: readonly string[];
  /** Decoded paths that it concerns. */
  readonly path: RegExp;
  readonly intercept?: (
    request: RegistryRequest,
    context: FaultContext,
  ) => Interception | Promise<Interception>;
  /** The changed reply; undefined if the fault does not concern it. */
  readonly transform?: (reply: Reply, request: RegistryRequest) => Reply | undefined;
}

/** When a fault strikes. Everything narrows what the fault itself says. */
export interface FaultUse {
  /** Strikes so many times, then never again; always if left out. */
  readonly times?: number;
  /** Lets so many requests that it concerns pass first; 0 if left out. */
  readonly skip?: number;
  readonly match?: { readonly method?: string; readonly path?: RegExp };
  /** Strikes before credentials are looked at; after that if left out. */
  readonly beforeAuth?: boolean;
}

/** A fault that is on. */
export interface ActiveFault {
  readonly name: string;
  /** How many requests it has struck. */
  readonly hits: number;
  /** Turns it off. */
  remove(): void;
}

interface Entry {
  readonly name: string;
  readonly fault: Fault;
  readonly use: FaultUse;
  toSkip: number;
  hits: number;
}

/** The faults of one registry, in the order in which they were turned on. */
export class FaultList {
  #entries: Entry[] = [];

  get active(): readonly ActiveFault[] {
    return this.#entries.map((entry) => this.#handle(entry));
  }

  add(name: string, fault: Fault, use: FaultUse): ActiveFault {
    const entry: Entry = { name, fault, use, toSkip: use.skip ?? 0, hits: 0 };
    this.#entries.push(entry);
    return this.#handle(entry);
  }

  /** Turns every fault off. */
  clear(): void {
    this.#entries = [];
  }

  /** The answer of the first fault that gives one; those before it may have changed the request. */
  async intercept(
    request: RegistryRequest,
    context: FaultContext,
    beforeAuth: boolean,
  ): Promise<Reply | undefined> {
    for (const entry of this.#entries.filter(({ use }) => (use.beforeAuth ?? false) === beforeAuth)) {
      const { intercept } = entry.fault;
      if (intercept === undefined || !take(entry, request)) continue;
      const result = await intercept(request, context);
      if (result === undefined) giveBack(entry);
      else if (result !== "altered") return result;
    }
    return undefined;
  }

  /** The reply after every fault that changes it. */
  transform(reply: Reply, request: RegistryRequest): Reply {
    return this.#entries.reduce((changed, entry) => {
      const { transform } = entry.fault;
      if (transform === undefined || !take(entry, request)) return changed;
      const result = transform(changed, request);
      if (result === undefined) giveBack(entry);
      return result ?? changed;
    }, reply);
  }

  #handle(entry: Entry): ActiveFault {
    return {
      name: entry.name,
      get hits() {
        return entry.hits;
      },
      remove: () => {
        this.#entries = this.#entries.filter((other) => other !== entry);
      },
    };
  }
}

/** Counts a hit at once, since requests that run side by side must not share the last one. */
function take(entry: Entry, request: RegistryRequest): boolean {
  const { fault, use } = entry;
  const concerned =
    (fault.methods?.includes(request.method) ?? true) &&
    fault.path.test(request.path) &&
    (use.match?.method ?? request.method) === request.method &&
    (use.match?.path?.test(request.path) ?? true);
  if (!concerned || entry.hits >= (use.times ?? Infinity)) return false;
  entry.toSkip -= 1;
  if (entry.toSkip >= 0) return false;
  entry.hits += 1;
  return true;
}

function giveBack(entry: Entry): void {
  entry.hits -= 1;
}
