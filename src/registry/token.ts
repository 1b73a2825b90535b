/** Tokens: distribution's token.md (GET) for passwords and nobody, its oauth.md (POST) for identity tokens. */
import { z } from "zod";
import type { Credential } from "../content/credential.ts";
import type { Clock } from "../content/retry.ts";
import { AppError } from "../errors.ts";
import { answerError } from "./errors.ts";
import { type Answer, failedAnswer, readText, sendFollowing, type Transport } from "./http.ts";
import type { AddressGuard } from "./net/guard.ts";

/** What a token service gave. */
export interface Token {
  /** The Authorization header. */
  readonly header: string;
  /** On the clock that was given, in milliseconds. */
  readonly expiresAtMs: number;
  /** When it came. */
  readonly givenAtMs: number;
}

/** What to ask a token service for. */
export interface TokenRequest {
  /** Its URL, checked. */
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly credential: Credential | undefined;
  /** The Basic header of the credential, if it is a user name with a password. */
  readonly basic: string | undefined;
  readonly withoutSecrets: (text: string) => string;
}

export interface TokenOptions {
  readonly registry: string;
  readonly transport: Transport;
  readonly guard: AddressGuard;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

const maxTokenBytes = 128 * 1024;
/** token.md: a token without `expires_in` lives for 60 seconds, and none lives shorter. */
const minTokenSeconds = 60;
/** What no token service means: a number that overflows, or a date. Seconds. */
const maxTokenSeconds = 24 * 60 * 60;

const TokenAnswer = z.object({
  token: z.string().nullish().catch(null),
  access_token: z.string().nullish().catch(null),
  expires_in: z.coerce.number().nullish().catch(null),
});

/**
 * Gets a token. Throws AUTH if it is refused or there is none in the answer, RegistryError for other answers, and
 * NETWORK without one. Nothing of the answer gets into a message.
 */
export async function fetchToken(wanted: TokenRequest, options: TokenOptions): Promise<Token> {
  const { registry, clock } = options;
  const what = `get a token for ${registry} from ${wanted.realm.host}`;
  const identity = wanted.credential?.identityToken;
  let answer =
    identity === undefined
      ? await getToken(wanted, options, what)
      : await postToken(identity, wanted, options, what);
  let body = await readText(answer, maxTokenBytes + 1);
  if (identity !== undefined && [404, 405].includes(answer.status) && wanted.basic !== undefined) {
    // It does not know the OAuth2 form (Google Container Registry), and there is a password too.
    answer = await getToken(wanted, options, what);
    body = await readText(answer, maxTokenBytes + 1);
  }
  if (answer.status !== 200) throw refused(wanted, registry, answer, what, body);
  return parseToken(body, registry, wanted.realm, clock);
}

async function getToken(wanted: TokenRequest, options: TokenOptions, what: string): Promise<Answer> {
  const url = new URL(wanted.realm);
  if (wanted.service !== undefined) url.searchParams.set("service", wanted.service);
  for (const scope of wanted.scopes) url.searchParams.append("scope", scope);
  const { transport, guard, signal } = options;
  const exchange = { method: "GET", url, authorization: wanted.basic, what, signal } as const;
  return await sendFollowing(transport, exchange, guard);
}

async function postToken(
  identityToken: string,
  wanted: TokenRequest,
  options: TokenOptions,
  what: string,
): Promise<Answer> {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: identityToken,
    client_id: "oci-mirror",
    scope: wanted.scopes.join(" "),
    ...(wanted.service === undefined ? {} : { service: wanted.service }),
  });
  // Never redirected: its body holds the refresh token.
  return await options.transport({
    method: "POST",
    url: wanted.realm,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: form.toString(),
    what,
    signal: options.signal,
  });
}

function parseToken(body: string, registry: string, realm: URL, clock: Clock): Token {
  let parsed: z.infer<typeof TokenAnswer> | undefined;
  try {
    parsed = TokenAnswer.parse(JSON.parse(body));
  } catch {
    // Neither the body nor the parser's message may be shown: it may hold a token.
    parsed = undefined;
  }
  const token = parsed?.token || parsed?.access_token;
  if (!token || body.length > maxTokenBytes || /[^\x21-\x7e]/.test(token)) {
    throw new AppError("AUTH", `Cannot log in to ${registry}: ${realm.host} returned no token`, {
      hint: "check the registry's token service: its answer has to be JSON with a token of at most 128 KiB",
    });
  }
  const told = parsed?.expires_in;
  const seconds = Math.min(
    Math.max(Number.isFinite(told) ? (told ?? 0) : 0, minTokenSeconds),
    maxTokenSeconds,
  );
  const givenAtMs = clock.now();
  return { header: `Bearer ${token}`, givenAtMs, expiresAtMs: givenAtMs + seconds * 1000 };
}

function refused(
  wanted: TokenRequest,
  registry: string,
  answer: Answer,
  what: string,
  body: string,
): AppError {
  const { credential } = wanted;
  if (answer.status !== 401 && answer.status !== 403) {
    return answerError(what, failedAnswer("GET", answer, wanted.withoutSecrets(body)));
  }
  const who = credential === undefined ? "anonymous access" : `the credentials from ${credential.origin}`;
  return new AppError(
    "AUTH",
    `Cannot log in to ${registry}: ${answer.url.host} refused ${who} (${answer.status})`,
    {
      hint:
        credential === undefined
          ? `no credentials were found for it: log in with mirror login ${registry}`
          : `log in again with mirror login ${registry}`,
    },
  );
}
