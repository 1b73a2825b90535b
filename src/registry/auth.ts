/**
 * Who we are to one registry: answers its challenges (Basic, Bearer with tokens), keeps tokens by scope, and lets
 * credentials go nowhere but to the registry and the token service that it names.
 */
import { z } from "zod";
import type { Clock } from "../content/retry.ts";
import { AppError } from "../errors.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credential } from "./credentials.ts";
import { answerError, printable } from "./errors.ts";
import { isLocalAddress } from "./host.ts";
import { type Answer, failedAnswer, readText, sendFollowing, type Transport } from "./http.ts";
import { mergeScopes } from "./scopes.ts";

export interface AuthOptions {
  readonly transport: Transport;
  /** The registry's name in references; messages use it. */
  readonly registry: string;
  readonly credential: Credential | undefined;
  /** False: the registry is reached over plain HTTP and the user has not said that credentials may go there. */
  readonly mayUseCredential: () => boolean;
  readonly clock: Clock;
}

interface Token {
  readonly header: string;
  readonly expiresAtMs: number;
}

const maxTokenBytes = 128 * 1024;
/** distribution's token.md: a token without `expires_in` lives for 60 seconds, and none lives shorter. */
const minTokenSeconds = 60;
/** A token is renewed this long before it ends, so that it does not end under way. */
const renewBeforeMs = 10_000;

const TokenAnswer = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.coerce.number().nullish().catch(null),
});

/** The authentication state of one registry. */
export class Authenticator {
  readonly #options: AuthOptions;
  readonly #tokens = new Map<string, Promise<Token>>();
  #challenge: { readonly challenge: Challenge; readonly url: URL } | undefined;

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /**
   * Takes in the challenges of a 401 (or of a ping). Returns false if there is none that can be answered, in
   * which case asking again would change nothing.
   */
  learn(answer: Answer): boolean {
    const challenges = parseChallenges(answer.headers["www-authenticate"]);
    const bearer = challenges.find(
      (challenge) => challenge.scheme === "bearer" && challenge.parameters["realm"],
    );
    const basic = challenges.find((challenge) => challenge.scheme === "basic");
    const chosen = bearer ?? basic;
    if (chosen === undefined) return false;
    this.#challenge = { challenge: chosen, url: answer.url };
    return chosen.scheme === "bearer" || this.#options.credential !== undefined;
  }

  /** The Authorization header for a request that needs these scopes, or undefined for none. */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    if (this.#challenge === undefined) return undefined;
    const { challenge, url } = this.#challenge;
    if (challenge.scheme === "basic") return this.#basic();
    const { registryToken } = this.#credential() ?? {};
    if (registryToken !== undefined) return `Bearer ${registryToken}`;
    const key = [...scopes].sort().join(" ");
    const known = this.#tokens.get(key);
    if (known !== undefined) {
      const token = await known;
      if (token.expiresAtMs - renewBeforeMs > this.#options.clock.now()) return token.header;
      if (this.#tokens.get(key) === known) this.#tokens.delete(key);
    }
    // Single flight: whoever comes while a token is on its way waits for that one.
    const pending = this.#tokens.get(key) ?? this.#fetch(challenge, url, scopes, signal);
    this.#tokens.set(key, pending);
    pending.catch(() => {
      if (this.#tokens.get(key) === pending) this.#tokens.delete(key);
    });
    return (await pending).header;
  }

  /**
   * The scopes together with those that the last challenge demands (`error="insufficient_scope"`, or names of its
   * own); undefined if it demands nothing beyond them.
   */
  widened(scopes: readonly string[]): readonly string[] | undefined {
    const demanded = this.#challenge?.challenge.parameters["scope"]?.split(" ").filter(Boolean) ?? [];
    const merged = mergeScopes([...scopes, ...demanded]);
    return merged.join(" ") === mergeScopes(scopes).join(" ") ? undefined : merged;
  }

  /** A text from a server without our secrets in it, should it quote them. */
  withoutSecrets(text: string, authorization?: string): string {
    const { password, identityToken, registryToken } = this.#options.credential ?? {};
    const secrets = [password, identityToken, registryToken, authorization?.replace(/^\w+ /, "")];
    const known = secrets.flatMap((secret) => (secret ? [secret] : []));
    return known.reduce((clean, secret) => clean.replaceAll(secret, "***"), text);
  }

  /** Forgets the token that was just refused, unless another request has renewed it already. */
  async reject(header: string | undefined): Promise<void> {
    for (const [key, pending] of this.#tokens) {
      const token = await pending.catch(() => undefined);
      if (token?.header === header && this.#tokens.get(key) === pending) this.#tokens.delete(key);
    }
  }

  /** Where the credential was found, for messages. */
  get origin(): string | undefined {
    return this.#options.credential?.origin;
  }

  #basic(): string | undefined {
    const credential = this.#credential();
    if (!credential?.username || credential.password === undefined) return undefined;
    return basicHeader(credential.username, credential.password);
  }

  #credential(): Credential | undefined {
    const { credential, registry } = this.#options;
    if (credential !== undefined && !this.#options.mayUseCredential()) {
      throw new AppError(
        "AUTH",
        `Cannot log in to ${registry}: it speaks plain HTTP, and a password is not sent over that unasked`,
        {
          hint: `if you trust the network in between, pass --plain-http ${registry}`,
        },
      );
    }
    return credential;
  }

  async #fetch(
    challenge: Challenge,
    challenged: URL,
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<Token> {
    const realm = this.#realm(challenge, challenged);
    const credential = this.#credential();
    const service = challenge.parameters["service"];
    const what = `get a token for ${this.#options.registry} from ${realm.host}`;
    const common = { what, signal };
    const authorization = credential?.identityToken === undefined ? this.#basic() : undefined;
    let answer: Answer;
    if (credential?.identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        refresh_token: credential.identityToken,
        client_id: "oci-mirror",
        scope: scopes.join(" "),
        ...(service === undefined ? {} : { service }),
      });
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      // A POST is never redirected: its body holds the refresh token.
      answer = await this.#options.transport({
        ...common,
        method: "POST",
        url: realm,
        headers,
        body: form.toString(),
      });
    } else {
      if (service !== undefined) realm.searchParams.set("service", service);
      for (const scope of scopes) realm.searchParams.append("scope", scope);
      answer = await sendFollowing(this.#options.transport, {
        ...common,
        method: "GET",
        url: realm,
        authorization,
      });
    }
    const body = await readText(answer, maxTokenBytes);
    if (answer.status !== 200) throw this.#refused(what, answer, this.withoutSecrets(body, authorization));
    return this.#token(body, realm);
  }

  #realm(challenge: Challenge, challenged: URL): URL {
    const { registry } = this.#options;
    const text = challenge.parameters["realm"] ?? "";
    const fail = (reason: string): never => {
      throw new AppError("AUTH", `Cannot log in to ${registry}: ${reason}`, {
        hint: "check the configuration of the registry's token service",
      });
    };
    if (!URL.canParse(text, challenged.href))
      fail(`its token service ${JSON.stringify(printable(text))} is no URL`);
    const realm = new URL(text, challenged);
    if (realm.protocol !== "https:" && !(realm.protocol === "http:" && challenged.protocol === "http:")) {
      fail(`its token service ${realm.protocol}//${realm.host} is not https`);
    }
    if (realm.host !== challenged.host && isLocalAddress(realm.host) && !isLocalAddress(challenged.host)) {
      fail(`its token service is at the local address ${realm.host}`);
    }
    return realm;
  }

  #token(body: string, realm: URL): Token {
    let parsed: z.infer<typeof TokenAnswer> | undefined;
    try {
      parsed = TokenAnswer.parse(JSON.parse(body));
    } catch {
      // Neither the body nor the parser's message may be shown: it may hold a token.
      parsed = undefined;
    }
    const token = parsed?.token || parsed?.access_token;
    if (!token)
      throw new AppError(
        "AUTH",
        `Cannot log in to ${this.#options.registry}: ${realm.host} returned no token`,
      );
    const seconds = Math.max(parsed?.expires_in ?? minTokenSeconds, minTokenSeconds);
    return { header: `Bearer ${token}`, expiresAtMs: this.#options.clock.now() + seconds * 1000 };
  }

  #refused(what: string, answer: Answer, body: string): AppError {
    const { registry, credential } = this.#options;
    if (answer.status === 401 || answer.status === 403) {
      const who = credential === undefined ? "anonymous access" : `the credentials from ${credential.origin}`;
      return new AppError(
        "AUTH",
        `Cannot log in to ${registry}: ${answer.url.host} refused ${who} (${answer.status})`,
        {
          hint:
            credential === undefined
              ? `log in with docker login ${registry}`
              : `log in again with docker login ${registry}`,
        },
      );
    }
    return answerError(what, failedAnswer("GET", answer, body));
  }
}

function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
