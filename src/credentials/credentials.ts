/** The credentials of a run: every place that may have one for a registry, the most explicit first. */
import type { Credential, FindCredential } from "../content/credential.ts";
import { type Clock, systemClock } from "../content/retry.ts";
import { AppError } from "../errors.ts";
import { type AuthFile, authsCredential, helperFor, parseAuthFile, readAuthFile } from "./auth-file.ts";
import { environmentCredential } from "./environment.ts";
import { askHelper } from "./helper.ts";
import { type ListLogin, listCredential } from "./list-login.ts";
import { type AuthPlace, authPlaces } from "./places.ts";
import { Remembered } from "./remembered.ts";

export interface CredentialsOptions {
  readonly env: NodeJS.ProcessEnv;
  /** `--authfile`: no other file is read. */
  readonly authfile?: string | undefined;
  /** The time that a helper may take, in milliseconds; 30 s if left out. */
  readonly helperTimeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** What is known of one registry beforehand. */
export interface RegistryOptions {
  /** What the image list says. */
  readonly login?: ListLogin | undefined;
  /** `MIRROR_USERNAME` and `MIRROR_PASSWORD` belong to it. */
  readonly isOwner?: boolean;
}

/** Finds credentials; remembers files and the answers of helpers for all registries of the run. */
export class Credentials {
  readonly #options: CredentialsOptions;
  readonly #closed = new AbortController();
  readonly #files: Remembered<readonly AuthFile[]>;
  readonly #helpers: Remembered<Credential | undefined>;
  readonly #logins: Remembered<Credential>;

  constructor(options: CredentialsOptions) {
    this.#options = options;
    const clock = options.clock ?? systemClock;
    this.#files = new Remembered(clock);
    this.#helpers = new Remembered(clock);
    this.#logins = new Remembered(clock);
  }

  /**
   * What finds the credentials of a registry (`host[:port]`, or `docker.io`), place by place: variables, the list,
   * `--authfile`, `DOCKER_AUTH_CONFIG`, Docker's config.json, Podman's auth.json. Throws USAGE at once for variables
   * that are half set; what it returns throws AUTH for a place that cannot be read.
   */
  finder(registry: string, options: RegistryOptions = {}): FindCredential {
    const { login, isOwner = false } = options;
    const given = environmentCredential(registry, this.#options.env, isOwner);
    if (given !== undefined) return async () => given;
    if (login !== undefined) return async () => await this.#listed(registry, login);
    return async (repository) => await this.#stored(registry, repository);
  }

  /** Ends helpers that have not answered yet: nobody waits for them any more. */
  close(): void {
    this.#closed.abort(new AppError("INTERRUPTED", "nobody waits for the credential helper any more"));
  }

  async #listed(registry: string, login: ListLogin): Promise<Credential> {
    return await this.#logins.get(registry, async () => await listCredential(login, this.#options.env));
  }

  async #stored(registry: string, repository: string | undefined): Promise<Credential | undefined> {
    const { env, authfile } = this.#options;
    const places = authPlaces(env, authfile);
    const named = places.filter(({ namedBy }) => namedBy !== undefined);
    const others = places.filter(({ namedBy }) => namedBy === undefined);
    return (
      (await this.#firstOf(named, registry, repository)) ??
      (await this.#fromVariable(registry, repository)) ??
      (await this.#firstOf(others, registry, repository))
    );
  }

  async #fromVariable(registry: string, repository: string | undefined): Promise<Credential | undefined> {
    const name = "DOCKER_AUTH_CONFIG";
    for (const file of parseAuthFile(this.#options.env[name] ?? "", name, "docker")) {
      const credential = await this.#fromFile(file, true, registry, repository);
      if (credential !== undefined) return credential;
    }
    return undefined;
  }

  async #firstOf(
    places: readonly AuthPlace[],
    registry: string,
    repository: string | undefined,
  ): Promise<Credential | undefined> {
    for (const place of places) {
      for (const file of await this.#files.get(place.path, async () => await readPlace(place))) {
        const credential = await this.#fromFile(file, place.asksStore, registry, repository);
        if (credential !== undefined) return credential;
      }
    }
    return undefined;
  }

  /** Docker does not use `auths` where a store is configured; what was there before the store is still used here. */
  async #fromFile(
    file: AuthFile,
    asksStore: boolean,
    registry: string,
    repository: string | undefined,
  ): Promise<Credential | undefined> {
    const name = helperFor(asksStore ? file : { ...file, credsStore: undefined }, registry);
    if (name !== undefined) {
      const { env, helperTimeoutMs: timeoutMs } = this.#options;
      const helper = { name, namedBy: file.name };
      const credential = await this.#helpers.get(
        `${name} ${registry}`,
        async () => await askHelper(helper, registry, { env, timeoutMs, signal: this.#closed.signal }),
      );
      if (credential !== undefined) return credential;
    }
    return authsCredential(file, registry, repository);
  }
}

async function readPlace(place: AuthPlace): Promise<readonly AuthFile[]> {
  const files = await readAuthFile(place.path, place.format);
  if (files !== undefined || place.namedBy === undefined) return files ?? [];
  throw new AppError("AUTH", `Cannot read ${place.path}: there is no such file`, {
    hint: `check the path of ${place.namedBy}`,
  });
}
