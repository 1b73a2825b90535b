/** The token server, proved against the real docker-registry. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetch } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Certificate, makeCertificate } from "./support/certificates.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { alice, basicAuthorization, bob } from "./support/htpasswd.ts";
import { parseScope, startTokenService, type TokenServiceOptions } from "./support/token-service.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";

let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "oci-mirror-token-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe.skipIf(tools === undefined)("docker-registry behind the token server", () => {
  const repository = "some/repo";

  /** A registry with a token server; `ask` gets a token, `read` tries it on the repository's tags. */
  async function start(keyType: "rsa" | "ec", options: Partial<TokenServiceOptions> = {}) {
    const certificate: Certificate = await makeCertificate({
      dir: folder,
      hosts: ["token"],
      name: `token-${keyType}`,
      keyType,
    });
    const service = await startTokenService({ certificate, users: [alice], ...options });
    const registry = await startDockerRegistry({
      program,
      token: {
        realm: service.realm,
        service: "test-registry",
        issuer: service.issuer,
        rootCert: certificate.certificateFile,
      },
    });
    const ask = async (actions: string, authorization?: string): Promise<string> => {
      const url = `${service.realm}?service=test-registry&scope=repository:${repository}:${actions}`;
      const answer = await fetch(url, { headers: authorization === undefined ? {} : { authorization } });
      if (answer.status !== 200) return `status ${answer.status}`;
      return ((await answer.json()) as { readonly token: string }).token;
    };
    const begin = (token: string) =>
      fetch(`${registry.url}/v2/${repository}/blobs/uploads/`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
      });
    const close = async (): Promise<void> => {
      await registry.close();
      await service.close();
    };
    return { service, registry, ask, begin, [Symbol.asyncDispose]: close };
  }

  test.each([
    ["rsa", "x5c"],
    ["rsa", "kid"],
    ["ec", "x5c"],
    ["ec", "kid"],
  ] as const)("a token signed with %s and found by %s is taken", async (keyType, keyHeader) => {
    await using both = await start(keyType, { keyHeader });
    const unauthorized = await fetch(`${both.registry.url}/v2/`);
    expect(unauthorized.status).toBe(401);
    expect(unauthorized.headers.get("www-authenticate")).toBe(
      `Bearer realm="${both.service.realm}",service="test-registry"`,
    );
    const token = await both.ask("pull,push", basicAuthorization(alice));
    expect((await both.begin(token)).status).toBe(202);
    expect(both.service.requests).toEqual([
      {
        method: "GET",
        scopes: [`repository:${repository}:pull,push`],
        service: "test-registry",
        account: "alice",
        status: 200,
      },
    ]);
  });

  test("wrong credentials get none, and nobody gets one to pull only", async () => {
    await using both = await start("ec");
    expect(await both.ask("pull", basicAuthorization(bob))).toBe("status 401");
    const refused = await both.begin(await both.ask("pull,push"));
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toContain('error="insufficient_scope"');
  });

  test("a token past its expiry and the registry's leeway is refused", async () => {
    await using both = await start("ec", { lifetime: -61 });
    const refused = await both.begin(await both.ask("pull,push", basicAuthorization(alice)));
    expect(refused.status).toBe(401);
  });

  test("a token for another key is refused", async () => {
    await using both = await start("ec");
    const certificate = await makeCertificate({ dir: folder, hosts: ["other"], name: "other" });
    await using stranger = await startTokenService({ certificate, users: [alice] });
    const answer = await fetch(
      `${stranger.realm}?service=test-registry&scope=repository:${repository}:pull,push`,
      { headers: { authorization: basicAuthorization(alice) } },
    );
    const { token } = (await answer.json()) as { readonly token: string };
    expect((await both.begin(token)).status).toBe(401);
  });

  test("the OAuth2 form takes a password and an identity token", async () => {
    await using both = await start("ec");
    const post = async (fields: Record<string, string>): Promise<number> => {
      const body = new URLSearchParams({ service: "test-registry", client_id: "test", ...fields });
      return (await fetch(both.service.realm, { method: "POST", body })).status;
    };
    const { username, password } = alice;
    expect(await post({ grant_type: "password", username, password })).toBe(200);
    expect(await post({ grant_type: "refresh_token", refresh_token: password })).toBe(200);
    expect(await post({ grant_type: "refresh_token", refresh_token: "wrong" })).toBe(401);
  });
});

test("scopes are split at the first and the last colon", () => {
  expect(parseScope("repository:host:5000/a/b:pull,push")).toEqual({
    type: "repository",
    name: "host:5000/a/b",
    actions: ["pull", "push"],
  });
  expect(parseScope("nonsense")).toBeUndefined();
});
