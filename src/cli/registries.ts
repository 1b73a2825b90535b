/** The registries of a run: one client each, made from flags, the list, and Docker's own configuration. */
import { AppError } from "../errors.ts";
import type { RegistrySettings } from "../list/image-list.ts";
import { RegistryClient } from "../registry/client.ts";
import { dockerCredential } from "../registry/credentials.ts";
import { isListedInsecure } from "../registry/docker-daemon.ts";
import { RegistryRepository } from "../registry/repository.ts";
import type { Emit } from "../sync/events.ts";
import { Trust, type TrustFlags } from "./trust.ts";

export interface RegistryFlags extends TrustFlags {
  readonly "plain-http"?: readonly string[] | undefined;
  readonly concurrency?: number | undefined;
}

/** Makes clients on demand and closes them at the end. */
export class Registries implements AsyncDisposable {
  readonly #flags: RegistryFlags;
  readonly #settings: ReadonlyMap<string, RegistrySettings>;
  readonly #emit: Emit;
  readonly #trust: Trust;
  readonly #clients = new Map<string, RegistryClient>();

  constructor(flags: RegistryFlags, settings: ReadonlyMap<string, RegistrySettings>, emit: Emit) {
    this.#flags = flags;
    this.#settings = settings;
    this.#emit = emit;
    this.#trust = new Trust(flags, settings, process.env);
  }

  /** Reads what is needed to talk to these hosts: credentials and certificates. Throws AUTH, TLS or NOT_FOUND. */
  async prepare(hosts: Iterable<string>): Promise<void> {
    for (const host of new Set(hosts)) {
      if (!this.#clients.has(host)) this.#clients.set(host, await this.#make(host));
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

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map(async (client) => await client.close()));
  }

  async #make(host: string): Promise<RegistryClient> {
    const settings = this.#settings.get(host) ?? {};
    const flags = this.#flags;
    return new RegistryClient(host, {
      ...(await this.#trust.of(host)),
      proxyFor: this.#trust.proxyFor,
      plainHttp: flags["plain-http"]?.includes(host) === true || settings.plainHttp === true,
      listedInsecure: await isListedInsecure(host),
      credential: await dockerCredential(host, process.env),
      concurrency: flags.concurrency ?? settings.concurrency,
      chunkBytes: settings.chunkSize,
      onWarning: (message, hint) => this.#emit({ type: "warning", message, hint }),
      onRetry: (what, attempt, delayMs, cause) =>
        this.#emit({ type: "retrying", what, attempt, delayMs, cause }),
    });
  }
}
