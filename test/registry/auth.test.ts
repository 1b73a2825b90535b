import { describe, expect, test } from "vitest";
import { type BearerAuth, tokenService } from "./auth.ts";
import { type Answer, call } from "./client.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const users = { alice: "p:ss" };
const bearer: BearerAuth = { type: "bearer", users };
const basic = (name: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`,
});

interface Challenge {
  readonly realm: string;
  readonly service: string;
  readonly scope: string;
  readonly error: string | undefined;
}

function challengeOf(answer: Answer): Challenge {
  const text = String(answer.headers["www-authenticate"]);
  const field = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(text)?.[1];
  return {
    realm: field("realm") ?? "",
    service: field("service") ?? "",
    scope: field("scope") ?? "",
    error: field("error"),
  };
}

const tokenUrl = ({ realm, service, scope }: Challenge) =>
  `${realm}?${new URLSearchParams({ service, scope }).toString()}`;

/** Walks the whole way: refused, token, again. */
async function withToken(
  registry: TestRegistry,
  path: string,
  headers = {},
): Promise<{ authorization: string }> {
  const refused = await call("GET", `${registry.url}${path}`);
  const answer = await call("GET", tokenUrl(challengeOf(refused)), { headers });
  const { token } = JSON.parse(answer.body.toString()) as { token: string };
  return { authorization: `Bearer ${token}` };
}

test("Basic lets users in and nobody else", async () => {
  await using registry = await startRegistry({ auth: { type: "basic", users } });
  const ping = (headers = {}) => call("GET", `${registry.url}/v2/`, { headers });
  const refused = await ping();
  expect([refused.status, refused.headers["www-authenticate"]]).toEqual([401, 'Basic realm="Test Registry"']);
  expect((await ping(basic("alice", "wrong"))).status).toBe(401);
  expect((await ping(basic("toString", "x"))).status).toBe(401);
  expect((await ping(basic("alice", "p:ss"))).status).toBe(200);
});

describe("Bearer", () => {
  test("names its token server, on another origin, and what it wants", async () => {
    await using registry = await startRegistry({ auth: bearer });
    const challenge = challengeOf(
      await call("POST", `${registry.url}/v2/a/b/blobs/uploads/?mount=x&from=c/d`),
    );
    expect(new URL(challenge.realm).host).not.toBe(registry.host);
    expect(challenge).toMatchObject({
      service: tokenService,
      scope: "repository:a/b:pull,push repository:c/d:pull",
    });
    expect(challenge.error).toBeUndefined();
  });

  test("gives a token for a password, good for its repository alone", async () => {
    await using registry = await startRegistry({ auth: bearer });
    registry.putManifest("a/b", "v1", Buffer.from("{}"), "text/plain");
    const headers = await withToken(registry, "/v2/a/b/tags/list", basic("alice", "p:ss"));
    expect((await call("GET", `${registry.url}/v2/a/b/tags/list`, { headers })).status).toBe(200);
    expect((await call("GET", `${registry.url}/v2/`, { headers })).status).toBe(200);
    const other = await call("GET", `${registry.url}/v2/c/d/tags/list`, { headers });
    expect([other.status, challengeOf(other).error]).toEqual([401, "insufficient_scope"]);
    const push = await call("POST", `${registry.url}/v2/a/b/blobs/uploads/`, { headers });
    expect([push.status, challengeOf(push).error]).toEqual([401, "insufficient_scope"]);
  });

  test("refuses wrong passwords, unknown services and, unless it is allowed, anonymous readers", async () => {
    await using closed = await startRegistry({ auth: bearer });
    const challenge = challengeOf(await call("GET", `${closed.url}/v2/a/b/tags/list`));
    const ask = (found: Challenge, headers = {}) => call("GET", tokenUrl(found), { headers });
    expect((await ask(challenge)).status).toBe(401);
    expect((await ask(challenge, basic("alice", "wrong"))).status).toBe(401);
    expect((await ask({ ...challenge, service: "other" }, basic("alice", "p:ss"))).status).toBe(400);

    await using open = await startRegistry({ auth: { ...bearer, anonymousPull: true } });
    open.putManifest("a/b", "v1", Buffer.from("{}"), "text/plain");
    const headers = await withToken(open, "/v2/a/b/tags/list");
    expect((await call("GET", `${open.url}/v2/a/b/tags/list`, { headers })).status).toBe(200);
    const push = challengeOf(await call("POST", `${open.url}/v2/a/b/blobs/uploads/`));
    const { token } = JSON.parse((await ask(push)).body.toString()) as { token: string };
    const pushHeaders = { authorization: `Bearer ${token}` };
    expect((await call("POST", `${open.url}/v2/a/b/blobs/uploads/`, { headers: pushHeaders })).status).toBe(
      401,
    );
  });

  test("tokens end, by themselves or at once", async () => {
    const pull = async (
      registry: TestRegistry,
      renew: () => void,
    ): Promise<readonly (string | number | undefined)[]> => {
      const headers = await withToken(registry, "/v2/a/b/tags/list", basic("alice", "p:ss"));
      renew();
      const answer = await call("GET", `${registry.url}/v2/a/b/tags/list`, { headers });
      return [answer.status, challengeOf(answer).error];
    };
    await using long = await startRegistry({ auth: bearer });
    expect(await pull(long, () => undefined)).toEqual([404, undefined]);
    expect(await pull(long, () => long.expireTokens())).toEqual([401, "invalid_token"]);
    await using short = await startRegistry({ auth: { ...bearer, tokenSeconds: 0 } });
    expect(await pull(short, () => undefined)).toEqual([401, "invalid_token"]);
  });

  test("holds users to their rights", async () => {
    await using registry = await startRegistry({ auth: { ...bearer, rights: () => ["pull"] } });
    const challenge = challengeOf(await call("POST", `${registry.url}/v2/a/b/blobs/uploads/`));
    const answer = await call("GET", tokenUrl(challenge), { headers: basic("alice", "p:ss") });
    expect(answer.status).toBe(200);
    const { token } = JSON.parse(answer.body.toString()) as { token: string };
    const headers = { authorization: `Bearer ${token}` };
    expect((await call("GET", `${registry.url}/v2/a/b/tags/list`, { headers })).status).toBe(404);
    expect((await call("POST", `${registry.url}/v2/a/b/blobs/uploads/`, { headers })).status).toBe(401);
  });

  test("takes identity tokens in the OAuth2 form", async () => {
    await using registry = await startRegistry({ auth: { ...bearer, identityTokens: { secret: "alice" } } });
    const { realm, scope } = challengeOf(await call("GET", `${registry.url}/v2/a/b/tags/list`));
    const post = (form: Record<string, string>) =>
      call("POST", realm, {
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ service: tokenService, client_id: "test", scope, ...form }).toString(),
      });
    expect((await post({ grant_type: "refresh_token", refresh_token: "secret" })).status).toBe(200);
    expect((await post({ grant_type: "refresh_token", refresh_token: "other" })).status).toBe(401);
    expect((await post({ grant_type: "password", username: "alice", password: "p:ss" })).status).toBe(200);
    expect(registry.requests.filter(({ origin }) => origin === "token")).toHaveLength(3);
  });
});
