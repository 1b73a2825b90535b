/**
 * A token server for the distribution project's token authentication, as the real docker-registry checks it: a JWT
 * signed with the key of a certificate that the registry has in its `rootcertbundle`
 * (distribution v2.8.3, docs/spec/auth/token.md and jwt.md).
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  randomUUID,
  sign,
  X509Certificate,
} from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Certificate } from "./certificates.ts";
import { basicAuthorization, type TestUser } from "./htpasswd.ts";

/** One `repository:name:actions`. */
export interface Access {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** A request that the server answered. */
export interface TokenRequest {
  readonly method: string;
  readonly scopes: readonly string[];
  readonly service: string | undefined;
  /** The user's name, or undefined for nobody. */
  readonly account: string | undefined;
  readonly status: number;
}

/** Options of {@link startTokenService}. */
export interface TokenServiceOptions {
  /** The key that signs; RSA gives RS256, P-256 gives ES256. */
  readonly certificate: Certificate;
  readonly users: readonly TestUser[];
  /** `iss`, as in the registry's configuration. Default `test-issuer`. */
  readonly issuer?: string;
  /** How the registry finds the key: the certificate itself (default) or its fingerprint. */
  readonly keyHeader?: "x5c" | "kid";
  /**
   * Seconds until `exp`, default 300. The registry grants 60 s beyond it (`Leeway` in distribution's token.go), so
   * -57 makes a token that stops working after about three seconds, and -61 one that never works.
   */
  readonly lifetime?: number;
  /** `expires_in` of the answer, in seconds; left out, that field is absent. */
  readonly advertised?: number;
  /** What of a requested access is granted. Default: all to users, `pull` to anybody else. */
  readonly grant?: (account: string | undefined, access: Access) => readonly string[];
}

/** A running token server. */
export interface TokenService extends AsyncDisposable {
  /** The `realm` to give to the registry. */
  readonly realm: string;
  readonly issuer: string;
  /** Everything asked of it so far. */
  readonly requests: readonly TokenRequest[];
  readonly close: () => Promise<void>;
}

/** Reads `repository:host:5000/name:pull,push`: the name may hold colons. Undefined if it is not a scope. */
export function parseScope(scope: string): Access | undefined {
  const match = /^([a-z]+)(?:\([a-z]+\))?:(.+):([a-z*,]*)$/.exec(scope);
  if (match === null) return undefined;
  const [, type = "", name = "", actions = ""] = match;
  return { type, name, actions: actions.split(",").filter((action) => action !== "") };
}

/** libtrust's key id: base32 of the first 240 bits of the SHA-256 of the key's DER form, in groups of four. */
function keyId(certificate: X509Certificate): string {
  const der = certificate.publicKey.export({ type: "spki", format: "der" });
  const bytes = createHash("sha256").update(der).digest().subarray(0, 30);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const letters = bits.replace(/.{5}/g, (five) => alphabet[Number.parseInt(five, 2)] ?? "");
  return letters.replace(/(.{4})(?=.)/g, "$1:");
}

/** Signs claims in JWS compact form. */
function makeToken(options: TokenServiceOptions, claims: Readonly<Record<string, unknown>>): string {
  const x509 = new X509Certificate(options.certificate.certificate);
  const key = createPrivateKey(options.certificate.key);
  const isRsa = createPublicKey(key).asymmetricKeyType === "rsa";
  const header = {
    typ: "JWT",
    alg: isRsa ? "RS256" : "ES256",
    ...(options.keyHeader === "kid" ? { kid: keyId(x509) } : { x5c: [x509.raw.toString("base64")] }),
  };
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode(header)}.${encode(claims)}`;
  // JWS wants the two numbers of an ECDSA signature side by side, not in DER (RFC 7518 §3.4).
  const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/** What a request asks for, out of the query (GET) or the form (POST). */
async function parseRequest(request: IncomingMessage): Promise<URLSearchParams> {
  if (request.method === "POST") return new URLSearchParams(await text(request));
  return new URL(request.url ?? "/", "http://token.invalid").searchParams;
}

/** The user, undefined for nobody, or `refused` for wrong credentials. */
function authenticate(
  request: IncomingMessage,
  form: URLSearchParams,
  users: readonly TestUser[],
): TestUser | undefined | "refused" {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    return users.find((user) => basicAuthorization(user) === authorization) ?? "refused";
  }
  if (request.method !== "POST") return undefined;
  const known = users.find(
    ({ username, password }) =>
      // An identity token is the password under another name: enough for a test server.
      (form.get("grant_type") === "password" &&
        form.get("username") === username &&
        form.get("password") === password) ||
      (form.get("grant_type") === "refresh_token" && form.get("refresh_token") === password),
  );
  return known ?? "refused";
}

/** Starts a token server on a free port of 127.0.0.1. */
export async function startTokenService(options: TokenServiceOptions): Promise<TokenService> {
  const { users, issuer = "test-issuer", lifetime = 300, advertised } = options;
  const grant =
    options.grant ??
    ((account: string | undefined, access: Access) =>
      account === undefined ? access.actions.filter((action) => action === "pull") : access.actions);
  const requests: TokenRequest[] = [];

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const form = await parseRequest(request);
    const scopes = form.getAll("scope").flatMap((scope) => scope.split(" "));
    const service = form.get("service") ?? undefined;
    const user = authenticate(request, form, users);
    const account = user === "refused" ? undefined : user?.username;
    const status = user === "refused" ? 401 : 200;
    requests.push({ method: request.method ?? "", scopes, service, account, status });
    response.writeHead(status, { "content-type": "application/json" });
    if (status === 401) {
      response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "wrong credentials" }] }));
      return;
    }
    const now = Math.floor(Date.now() / 1000);
    const token = makeToken(options, {
      iss: issuer,
      sub: account ?? "",
      aud: service ?? "",
      exp: now + lifetime,
      nbf: now - 120,
      iat: now,
      jti: randomUUID(),
      access: scopes
        .flatMap((scope) => parseScope(scope) ?? [])
        .map((access) => ({ ...access, actions: grant(account, access) }))
        .filter(({ actions }) => actions.length > 0),
    });
    response.end(JSON.stringify({ token, access_token: token, expires_in: advertised }));
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((settle) => server.close(settle));
  };
  return { realm: `http://127.0.0.1:${port}/token`, issuer, requests, close, [Symbol.asyncDispose]: close };
}
