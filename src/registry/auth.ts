/**
 * Who we are to one registry: answers its challenges (Basic, Bearer with tokens), keeps tokens by credential and
 * scopes, and lets credentials go nowhere but to the registry and the token service that it names.
 */
import type { Credential, FindCredential } from "../content/credential.ts";
import type { Clock } from "../content/retry.ts";
import { AppError } from "../errors.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { type Answer, orAborted, type Transport } from "./http.ts";
import { toRealm } from "./leads.ts";
import type { AddressGuard } from "./net/guard.ts";
import { mergeScopes, repositoryOf } from "./scopes.ts";
import { fetchToken, type Token } from "./token.ts";

export interface AuthOptions {
  readonly transport: Transport;
  /** The registry's name in references; messages use it. */
  readonly registry: string;
  readonly credential: FindCredential;
  /** Why no credential goes there, unless the user says so: it speaks plain HTTP, or nobody vouches for it. */
  readonly keepsBack: () => "plain" | "untrusted" | undefined;
  readonly guard: AddressGuard;
  readonly clock: Clock;
  /** Told once of each credential that is used: where it was found. */
  readonly onNote?: ((message: string) => void) | undefined;
}

/** A token is renewed this long before it ends, so that it does not end under way. */
const renewBeforeMs = 10_000;
/** A token that was sent so soon and refused was never good: its age teaches nothing. */
const neverGoodMs = 500;

/** The authentication state of one registry. */
export class Authenticator {
  readonly #options: AuthOptions;
  readonly #tokens = new Map<string, Promise<Token>>();
  /** Every secret that was ever used here: texts from servers are shown without them. */
  readonly #secrets = new Set<string>();
  readonly #noted = new Set<string>();
  /** What the registry wants in place of some scopes: it may have names of its own for its repositories. */
  readonly #wider = new Map<string, readonly string[]>();
  #challenge: { readonly challenge: Challenge; readonly url: URL } | undefined;
  /** How long tokens really serve, where the registry has refused one before the end that its service had told. */
  #servesMs = Number.POSITIVE_INFINITY;

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** Takes in the challenges of a 401 (or of a ping). Returns false if there is none that we can speak to. */
  learn(answer: Answer): boolean {
    const challenges = parseChallenges(answer.headers["www-authenticate"]);
    const bearer = challenges.filter(({ scheme }) => scheme === "bearer");
    const basic = challenges.find(({ scheme }) => scheme === "basic");
    // A Bearer challenge without a realm leads nowhere; it is chosen only where the error has to tell of it.
    const chosen = bearer.find(({ parameters }) => parameters["realm"]) ?? basic ?? bearer[0];
    if (chosen === undefined) return false;
    this.#challenge = { challenge: chosen, url: answer.url };
    return true;
  }

  /** True if the last challenge says that the token lacks a right (RFC 6750 §3.1). */
  get lacksScope(): boolean {
    return this.#challenge?.challenge.parameters["error"] === "insufficient_scope";
  }

  /** The host that gives out tokens, if the registry named one. */
  get tokenHost(): string | undefined {
    const challenge = this.#challenge;
    if (challenge?.challenge.scheme !== "bearer") return undefined;
    const realm = challenge.challenge.parameters["realm"] ?? "";
    return URL.canParse(realm, challenge.url.href) ? new URL(realm, challenge.url).host : undefined;
  }

  /**
   * The Authorization header for a request that needs these scopes; undefined for none. Throws AUTH where a
   * credential may not be used or a token is refused, NETWORK where the token service cannot be reached.
   */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    if (this.#challenge === undefined) return undefined;
    const { challenge, url } = this.#challenge;
    const credential = await this.credential(scopes, signal);
    if (challenge.scheme === "basic") return basicHeader(credential);
    if (credential?.registryToken !== undefined) return `Bearer ${credential.registryToken}`;
    const key = `${credential?.origin ?? ""} ${[...scopes].sort().join(" ")}`;
    const known = this.#tokens.get(key);
    if (known !== undefined) {
      const token = await known;
      const endMs = Math.min(token.expiresAtMs - renewBeforeMs, token.givenAtMs + this.#servesMs);
      if (endMs > this.#options.clock.now()) return token.header;
      if (this.#tokens.get(key) === known) this.#tokens.delete(key);
    }
    // Single flight: whoever comes while a token is on its way waits for that one.
    const pending = this.#tokens.get(key) ?? this.#fetch(challenge, url, credential, { scopes, signal });
    this.#tokens.set(key, pending);
    pending.catch(() => {
      if (this.#tokens.get(key) === pending) this.#tokens.delete(key);
    });
    return (await pending).header;
  }

  /** The credential for what these scopes are about. Throws AUTH if there is one that may not be sent. */
  async credential(scopes: readonly string[], signal?: AbortSignal): Promise<Credential | undefined> {
    const { registry } = this.#options;
    // A helper may take its time, or wait for somebody to unlock it.
    const credential = await orAborted(this.#options.credential(repositoryOf(scopes)), signal);
    const { password, identityToken, registryToken, origin = "nowhere: anonymous" } = credential ?? {};
    if (!this.#noted.has(origin)) this.#options.onNote?.(`credentials for ${registry} from ${origin}`);
    this.#noted.add(origin);
    for (const secret of [password, identityToken, registryToken]) if (secret) this.#secrets.add(secret);
    const reason = credential === undefined ? undefined : this.#options.keepsBack();
    if (reason === undefined) return credential;
    const { state, hint } = keptBack[reason];
    throw new AppError("AUTH", `Cannot log in to ${registry}: ${state}`, { hint: `${hint} ${registry}` });
  }

  /**
   * The scopes together with those that the last challenge demands (`error="insufficient_scope"`, or names of its
   * own); undefined if it demands nothing beyond them.
   */
  widened(scopes: readonly string[]): readonly string[] | undefined {
    const demanded = this.#challenge?.challenge.parameters["scope"]?.split(" ").filter(Boolean) ?? [];
    const merged = mergeScopes([...scopes, ...demanded]);
    if (merged.join(" ") === mergeScopes(scopes).join(" ")) return undefined;
    // The first one stays that: it says whose credential is asked for.
    const first = scopes[0]?.replace(/[^:]*$/, "") ?? "";
    return merged.toSorted((a, b) => Number(b.startsWith(first)) - Number(a.startsWith(first)));
  }

  /** The scopes to begin with: those that a request like this one has needed before. */
  scopesFor(scopes: readonly string[]): readonly string[] {
    return this.#wider.get(scopes.join(" ")) ?? scopes;
  }

  /** Where `scopes` were too little, `wider` ones have done: whoever sends a stream has no second try. */
  learnScopes(scopes: readonly string[], wider: readonly string[]): void {
    this.#wider.set(scopes.join(" "), wider);
  }

  /** A text from a server without our secrets in it, should it quote them. */
  withoutSecrets(text: string, authorization?: string): string {
    const sent = authorization?.replace(/^\w+ /, "");
    const known = [...this.#secrets, ...(sent ? [sent] : [])];
    return known.reduce((clean, secret) => clean.replaceAll(secret, "***"), text);
  }

  /**
   * Forgets the token that was just refused, unless another request has renewed it already. One that had served
   * before has ended early (the two clocks differ, or the service promises too much): the next are renewed in time,
   * since an upload that meets this between two chunks starts over, and would meet it again. `sentMs` is when it was
   * sent: on a slow line it is older when the refusal comes.
   */
  async reject(header: string | undefined, sentMs: number): Promise<void> {
    for (const [key, pending] of this.#tokens) {
      const token = await pending.catch(() => undefined);
      if (token === undefined || token.header !== header || this.#tokens.get(key) !== pending) continue;
      this.#tokens.delete(key);
      const ageMs = sentMs - token.givenAtMs;
      if (ageMs > neverGoodMs) this.#servesMs = Math.min(this.#servesMs, ageMs / 2);
    }
  }

  async #fetch(
    challenge: Challenge,
    challenged: URL,
    credential: Credential | undefined,
    wanted: { readonly scopes: readonly string[]; readonly signal?: AbortSignal | undefined },
  ): Promise<Token> {
    const { registry, transport, guard, clock } = this.#options;
    const token = await fetchToken(
      {
        realm: toRealm(challenge.parameters["realm"], challenged, registry, guard),
        service: challenge.parameters["service"],
        scopes: wanted.scopes,
        credential,
        basic: basicHeader(credential),
        withoutSecrets: (text) => this.withoutSecrets(text, basicHeader(credential)),
      },
      { registry, transport, guard, clock, signal: wanted.signal },
    );
    this.#secrets.add(token.header.replace(/^\w+ /, ""));
    // Tokens come and go; those of an hour ago are nobody's secret any more.
    for (const oldest of this.#secrets) {
      if (this.#secrets.size <= maxSecrets) break;
      this.#secrets.delete(oldest);
    }
    return token;
  }
}

const keptBack = {
  plain: {
    state: "it speaks plain HTTP, and a password is not sent over that unasked",
    hint: "if you trust the network in between, pass --plain-http",
  },
  untrusted: {
    state: "its certificate is not trusted, and a password is not sent there unasked",
    hint: "name the CA that signed it with --ca-file, or pass --insecure",
  },
} as const;

/** Secrets that are remembered; the passwords come again with every use. */
const maxSecrets = 1000;

function basicHeader(credential: Credential | undefined): string | undefined {
  const { username, password } = credential ?? {};
  // Half of a credential is none: some servers take an empty password for anonymous, others lock the account.
  if (!username || password === undefined) return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
