/** Access control of the test registry: Basic, or Bearer with a token server of its own. */
import { randomUUID } from "node:crypto";
import { errorReply, jsonReply } from "./errors.ts";
import { header, type RegistryRequest, type Reply, readBody } from "./http.ts";
import type { Route } from "./routes.ts";

/** Passwords by user name. */
export type Users = Readonly<Record<string, string>>;

export interface BasicAuth {
  readonly type: "basic";
  readonly users: Users;
}

export interface BearerAuth {
  readonly type: "bearer";
  readonly users: Users;
  /** Life of a token in seconds, told and real; 300 if left out. */
  readonly tokenSeconds?: number;
  /** Gives tokens for pull to everybody; false if left out. */
  readonly anonymousPull?: boolean;
  /** What a user may do with a repository (`pull`, `push`, `delete`); everything if left out. */
  readonly rights?: (user: string, repository: string) => readonly string[];
  /** Users by identity token, for the OAuth2 form of the token request. */
  readonly identityTokens?: Readonly<Record<string, string>>;
}

export type AuthOptions = BasicAuth | BearerAuth;

/** The service name that clients have to carry from the challenge to the token server, as it is. */
export const tokenService = "test registry, service 1";

interface Token {
  readonly granted: ReadonlySet<string>;
  /** Milliseconds on the process's monotonic clock. */
  readonly expires: number;
}

/** Decides who may do what. */
export class Gate {
  readonly #options: AuthOptions | undefined;
  readonly #tokens = new Map<string, Token>();
  readonly #realm: () => string;

  /** `realm` gives the URL of the token server, once that is listening. */
  constructor(options: AuthOptions | undefined, realm: () => string) {
    this.#options = options;
    this.#realm = realm;
  }

  /** Undefined if the request may go on, otherwise the 401 that it gets. */
  check(request: RegistryRequest, route: Route | undefined): Reply | undefined {
    const options = this.#options;
    if (options === undefined) return undefined;
    const authorization = header(request, "authorization") ?? "";
    if (options.type === "basic") {
      if (userOf(authorization, options.users) !== undefined) return undefined;
      return unauthorized(`Basic realm="Test Registry"`);
    }
    const needed = neededAccess(request, route);
    const token = this.#tokens.get(/^bearer (.+)$/i.exec(authorization)?.[1] ?? "");
    const valid = token !== undefined && token.expires > performance.now();
    if (valid && needed.every((access) => token.granted.has(access))) return undefined;
    const problem = valid ? "insufficient_scope" : authorization === "" ? undefined : "invalid_token";
    const scope = needed.length === 0 ? "" : `,scope="${scopesOf(needed)}"`;
    const error = problem === undefined ? "" : `,error="${problem}"`;
    return unauthorized(`Bearer realm="${this.#realm()}",service="${tokenService}"${scope}${error}`);
  }

  /** Ends all tokens that have been given out. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  /** Answers the token server's only path: GET with Basic or nothing, POST with a password or an identity token. */
  async answerToken(request: RegistryRequest): Promise<Reply> {
    const options = this.#options;
    if (options?.type !== "bearer" || request.path !== "/token") return { status: 404 };
    const query = request.method === "POST" ? await formOf(request) : request.query;
    const user = request.method === "POST" ? formUser(query, options) : this.#basicUser(request, options);
    if (user === undefined) return errorReply([{ code: "UNAUTHORIZED" }]);
    if (query.get("service") !== tokenService) return jsonReply(400, { details: "unknown service" });
    const granted = query
      .getAll("scope")
      .flatMap((scope) => scope.split(" "))
      .flatMap((scope) => grant(scope, user, options));
    const token = `token-${randomUUID()}`;
    const seconds = options.tokenSeconds ?? 300;
    this.#tokens.set(token, { granted: new Set(granted), expires: performance.now() + seconds * 1000 });
    return jsonReply(200, {
      token,
      access_token: token,
      expires_in: seconds,
      issued_at: new Date().toISOString(),
    });
  }

  /** A user's name, `anonymous` (no user: "") where that is allowed, or undefined for a refusal. */
  #basicUser(request: RegistryRequest, options: BearerAuth): string | undefined {
    const authorization = header(request, "authorization");
    if (authorization !== undefined) return userOf(authorization, options.users);
    return options.anonymousPull === true ? "" : undefined;
  }
}

function formUser(form: URLSearchParams, options: BearerAuth): string | undefined {
  // The OAuth2 form makes client_id mandatory.
  if (form.get("client_id") === null) return undefined;
  if (form.get("grant_type") === "refresh_token")
    return options.identityTokens?.[form.get("refresh_token") ?? ""];
  const user = form.get("username") ?? "";
  const known = form.get("grant_type") === "password" && options.users[user] === form.get("password");
  return known ? user : undefined;
}

async function formOf(request: RegistryRequest): Promise<URLSearchParams> {
  return new URLSearchParams((await readBody(request))?.toString("utf8"));
}

/** The parts of a scope that a user gets: `repository:a/b:pull` and so on; "" is nobody in particular. */
function grant(scope: string, user: string, options: BearerAuth): readonly string[] {
  // Names may hold colons (host:port), so the type ends at the first one and the actions begin at the last.
  const match = /^([^:]+):(.+):([^:]*)$/.exec(scope);
  if (match === null) return [];
  const [, type = "", name = "", actions = ""] = match;
  if (type === "registry") return user === "" ? [] : [scope];
  const allowed = user === "" ? ["pull"] : (options.rights?.(user, name) ?? ["pull", "push", "delete"]);
  return actions
    .split(",")
    .flatMap((action) => (allowed.includes(action) ? [`${type}:${name}:${action}`] : []));
}

/** What distribution asks for: by method, and for a mount the source as well. */
function neededAccess(request: RegistryRequest, route: Route | undefined): readonly string[] {
  if (route === undefined || route.kind === "base" || route.kind === "slash") return [];
  if (route.kind === "catalog") return ["registry:catalog:*"];
  const actions: Readonly<Record<string, readonly string[]>> = {
    GET: ["pull"],
    HEAD: ["pull"],
    DELETE: ["delete"],
  };
  const needed = (actions[request.method] ?? ["pull", "push"]).map(
    (action) => `repository:${route.repository}:${action}`,
  );
  const from = route.kind === "uploads" ? request.query.get("from") : null;
  return from === null ? needed : [...needed, `repository:${from}:pull`];
}

/** `a:b:pull`, `a:b:push` become `a:b:pull,push`; several resources stand in one value, with spaces. */
function scopesOf(needed: readonly string[]): string {
  const byResource = new Map<string, string[]>();
  for (const access of needed) {
    const at = access.lastIndexOf(":");
    const resource = access.slice(0, at);
    byResource.set(resource, [...(byResource.get(resource) ?? []), access.slice(at + 1)]);
  }
  return [...byResource].map(([resource, actions]) => `${resource}:${actions.join(",")}`).join(" ");
}

function userOf(authorization: string, users: Users): string | undefined {
  const encoded = /^basic (.+)$/i.exec(authorization)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const at = text.indexOf(":");
  const user = text.slice(0, at);
  return at > 0 && Object.hasOwn(users, user) && users[user] === text.slice(at + 1) ? user : undefined;
}

function unauthorized(challenge: string): Reply {
  return errorReply([{ code: "UNAUTHORIZED" }], { "www-authenticate": challenge });
}
