/** The registries of a run: one client each, made from flags, the list, and Docker's own configuration. */
import type { LimitFunction } from "p-limit";
import type { Source } from "../content/content.ts";
import type { FindCredential } from "../content/credential.ts";
import { FallbackSource, Place } from "../content/fallback-source.ts";
import { Credentials } from "../credentials/credentials.ts";
import { credentialOwner } from "../credentials/environment.ts";
import { AppError } from "../errors.ts";
import type { MirrorEndpoint, RegistrySettings } from "../list/image-list.ts";
import { RegistryClient } from "../registry/client.ts";
import { isListedInsecure } from "../registry/docker-daemon.ts";
import { RegistryRepository } from "../registry/repository.ts";
import type { RequestTrace } from "../registry/trace.ts";
import type { Emit } from "../sync/events.ts";
import { formatTrace, isDebug } from "./debug.ts";
import { withHosts } from "./host-flags.ts";
import { parseRegistryTarget } from "./requests.ts";
import type { Session } from "./session.ts";
import { stateFolder } from "./state-folder.ts";
import { Trust, type TrustFlags } from "./trust.ts";

export interface RegistryFlags extends TrustFlags {
  readonly "plain-http"?: readonly string[] | undefined;
  readonly concurrency?: number | undefined;
  readonly "wait-for-rate-limit"?: boolean | undefined;
  readonly patience?: number | undefined;
  readonly authfile?: string | undefined;
  /** The target: `MIRROR_USERNAME` and `MIRROR_PASSWORD` belong to it. Without one, to the only registry there is. */
  readonly registry?: string | undefined;
  /** What `mirror login` tries, instead of what is configured. */
  readonly login?: FindCredential | undefined;
}

/** Makes clients on demand and closes them at the end. */
export class Registries implements AsyncDisposable {
  readonly #flags: RegistryFlags;
  readonly #settings: ReadonlyMap<string, RegistrySettings>;
  readonly #emit: Emit;
  readonly #trust: Trust;
  readonly #clients = new Map<string, RegistryClient>();
  /** What the run has learned of mirrors, by host. */
  readonly #places = new Map<string, Place>();
  readonly #credentials: Credentials;
  readonly #stateFolder: string | undefined;
  #owner: string | undefined;

  /** `keepsNotes`: false for a run that writes nothing to the disk, and so remembers nothing of earlier ones. */
  constructor(
    flags: RegistryFlags,
    settings: ReadonlyMap<string, RegistrySettings>,
    { emit }: Pick<Session, "emit">,
    { keepsNotes = true }: { readonly keepsNotes?: boolean } = {},
  ) {
    this.#stateFolder = keepsNotes ? stateFolder(process.env) : undefined;
    this.#flags = withHosts(flags);
    this.#settings = settings;
    this.#emit = emit;
    this.#credentials = new Credentials({ env: process.env, authfile: flags.authfile });
    this.#trust = new Trust(this.#flags, settings, process.env);
  }

  /**
   * Reads what is needed to talk to these hosts. Throws USAGE for variables that are half set or could be meant for
   * several of them, and TLS. Credentials are looked for once a registry asks for them.
   */
  async prepare(hosts: Iterable<string>): Promise<void> {
    const named = [...hosts];
    const mirrors = named.flatMap((host) => this.#mirrors(host).map((mirror) => mirror.host));
    const { registry, login } = this.#flags;
    const target = registry === undefined ? undefined : parseRegistryTarget(registry).host;
    if (login === undefined) this.#owner ??= credentialOwner(new Set(named), target, process.env);
    for (const host of new Set([...named, ...mirrors])) {
      // There is another place for what a mirror has: it is not waited for.
      const spare = !named.includes(host);
      if (!this.#clients.has(host)) this.#clients.set(host, await this.#make(host, spare));
    }
  }

  /** The client of a host that {@link prepare} knows. */
  client(host: string): RegistryClient {
    const client = this.#clients.get(host);
    if (client === undefined) throw new AppError("INTERNAL", `no client was prepared for ${host}`);
    return client;
  }

  /** A repository of a host that {@link prepare} knows. */
  repository(host: string, repository: string): RegistryRepository {
    return new RegistryRepository(this.client(host), repository);
  }

  /**
   * A repository to read from: the mirrors of its registry first, then the registry itself. The names of images stay
   * those of the registry.
   */
  source(host: string, repository: string): Source {
    const origin = this.repository(host, repository);
    const mirrors = this.#mirrors(host);
    if (mirrors.length === 0) return origin;
    const placed = mirrors.map((mirror) => ({
      source: this.repository(mirror.host, [mirror.prefix, repository].filter(Boolean).join("/")),
      place: this.#place(mirror.host),
    }));
    return new FallbackSource([...placed, { source: origin }]);
  }

  /**
   * The limits on transfers from a registry: its own and those of its mirrors, since any of them may be the one that
   * serves. In one order for all, so that nobody waits in a ring.
   */
  limits(host: string): readonly LimitFunction[] {
    const hosts = new Set([host, ...this.#mirrors(host).map((mirror) => mirror.host)]);
    return [...hosts].sort().map((name) => this.client(name).limit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#credentials.close();
    await Promise.all([...this.#clients.values()].map(async (client) => await client.close()));
  }

  #mirrors(host: string): readonly MirrorEndpoint[] {
    const mirrors = this.#settings.get(host)?.mirrors ?? [];
    return mirrors.filter((mirror) => mirror.host !== host || mirror.prefix !== "");
  }

  #place(host: string): Place {
    const warn = (message: string, hint?: string): void => this.#emit({ type: "warning", message, hint });
    const place = this.#places.get(host) ?? new Place(host, warn);
    this.#places.set(host, place);
    return place;
  }

  async #make(host: string, spare: boolean): Promise<RegistryClient> {
    const settings = this.#settings.get(host) ?? {};
    const { patience } = this.#flags;
    const flags = this.#flags;
    return new RegistryClient(host, {
      ...(await this.#trust.of(host)),
      proxyFor: this.#trust.proxyFor,
      plainHttp: flags["plain-http"]?.includes(host) === true || settings.plainHttp === true,
      listedInsecure: await isListedInsecure(host),
      credential: this.#flags.login ?? this.#finder(host, settings),
      concurrency: flags.concurrency ?? settings.concurrency,
      chunkBytes: settings.chunkSize,
      stateFolder: this.#stateFolder,
      onWarning: (message, hint) => this.#emit({ type: "warning", message, hint }),
      waitsForRateLimit: flags["wait-for-rate-limit"],
      patienceMs: spare ? 0 : patience === undefined ? undefined : patience * 1000,
      onRateLimit: (rate) => this.#emit({ type: "rate-limit", registry: host, ...rate }),
      onRequest: (trace) => this.#trace(trace),
      ...(isDebug(process.env)
        ? {
            onNote: (message: string) => this.#emit({ type: "debug", message }),
          }
        : {}),
      onRetry: (what, attempt, delayMs, cause) =>
        this.#emit({ type: "retrying", what, attempt, delayMs, cause }),
    });
  }

  #trace(trace: RequestTrace): void {
    if (isDebug(process.env)) this.#emit({ type: "debug", message: formatTrace(trace) });
    // What a proxy says for a registry that is away is no answer of it.
    if (typeof trace.outcome === "number" && trace.outcome < 500)
      this.#emit({ type: "answered", host: new URL(trace.url).host });
  }

  #finder(host: string, { login }: RegistrySettings): FindCredential {
    if (login?.password !== undefined) {
      this.#emit({
        type: "warning",
        message: `the password for ${host} is written in the list (${login.place}): whoever reads the list has it`,
        hint: "use passwordFile or passwordVariable, or mirror login",
      });
    }
    return this.#credentials.finder(host, { login, isOwner: host === this.#owner });
  }
}
