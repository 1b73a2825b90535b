/** Rows 1 to 10 of the fault list: challenges, realms, tokens and scopes. */
import { describe, expect, test } from "vitest";
import { jsonReply } from "../registry/errors.ts";
import { type RegistryOptions, startRegistry, type TestRegistry } from "../registry/registry.ts";
import { blobSource, failureOf } from "../registry-client/support.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Connect, surviving } from "./support.ts";

const users = { ada: "s3cret-word" };
const credential = { username: "ada", password: "s3cret-word", origin: "config.json (key x)" };
const image = await makeImage();
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

async function start(auth: RegistryOptions["auth"], secure = false): Promise<TestRegistry> {
  const registry = await startRegistry({
    ...(auth === undefined ? {} : { auth }),
    ...(secure ? { tls: certificates.server } : {}),
  });
  seed(registry, "a", "v1", image);
  return registry;
}
const options = (registry: TestRegistry) => ({
  plainHttp: registry.url.startsWith("http:"),
  ca: [certificates.ca.cert],
  credential,
});
const resolve = async (connect: Connect, registry: TestRegistry): Promise<string> =>
  (await connect(registry, options(registry)).repository("a").resolve("v1")).digest;
const tokenRequests = (registry: TestRegistry) =>
  registry.requests.filter(({ origin }) => origin === "token");

describe("row 1: several challenges", () => {
  test.each([
    ["in one line, Basic first", ['Basic realm="r", {own}']],
    ["in one line, Basic last", ['{own}, Basic realm="r"']],
    ["in two lines, Basic first", ['Basic realm="r"', "{own}"]],
    [
      "in two lines, with schemes that nobody speaks",
      ["Negotiate", 'NTLM TlRMTVNTUAAC==, {own}, Digest realm="d"'],
    ],
  ])("row 1: %s: Bearer is used", async (_name, lines) => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("challenge", { lines });
    const again = (connect: Connect) => resolve(connect, registry);
    const digest = await surviving({ registries: [registry], again }, (connect) =>
      resolve(connect, registry),
    );
    expect(digest).toBe(image.descriptor.digest);
    const sent = registry.requests.filter(({ origin }) => origin === "registry");
    expect(sent.filter(({ headers }) => headers.authorization?.startsWith("Basic"))).toEqual([]);
    expect(tokenRequests(registry)[0]?.headers.authorization).toMatch(/^Basic /);
  });
});

describe("row 2: a realm that no token service has", () => {
  test.each([
    ["http://169.254.169.254/latest", /not https/],
    ["https://169.254.169.254/latest", /local address 169\.254\.169\.254/],
    ["http://127.0.0.1:1/token", /not https/],
    ["https://ada:pw@127.0.0.1/token", /comes with a password/],
  ])("row 2: %s from an https registry is refused, and nothing is sent", async (realm, message) => {
    await using registry = await start({ type: "bearer", users }, true);
    registry.fault("challenge", { lines: [`Bearer realm="${realm}",service="s"`] });
    const again = (connect: Connect) => resolve(connect, registry);
    const error = await surviving({ registries: [registry], again }, async (connect) => {
      const traces: string[] = [];
      const watched = connect(registry, { ...options(registry), onRequest: ({ url }) => traces.push(url) });
      const failed = await failureOf(watched.repository("a").resolve("v1"));
      expect(traces.filter((url) => !url.startsWith(registry.url))).toEqual([]);
      return failed;
    });
    expect(error.code).toBe("AUTH");
    expect(error.message).toMatch(message);
    expect(error.hint).toContain("token service");
  });
});

describe("row 3: a token service that redirects", () => {
  test.each([
    ["to plain http", (thief: string) => `${thief}/token`, /from https:\/\/ to http:\/\//],
    ["to a link-local address", () => "https://169.254.169.254/token", /local address/],
  ])("row 3: %s is not followed", async (_name, location, message) => {
    await using thief = await startRegistry();
    await using registry = await start({ type: "bearer", users }, true);
    registry.fault("token-answer", { status: 302, headers: { location: location(thief.url) } });
    const again = (connect: Connect) => resolve(connect, registry);
    const error = await surviving({ registries: [registry], again }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(error.message).toMatch(message);
    expect(thief.requests).toEqual([]);
  });

  test("row 3: to another https origin is followed without the password", async () => {
    await using other = await startRegistry({ tls: certificates.server });
    await using registry = await start({ type: "bearer", users, anonymousPull: true }, true);
    registry.fault("token-answer", { status: 307, headers: { location: `${other.url}/token` } });
    other.customFault("token", {
      path: /^\/token$/,
      intercept: () => jsonReply(200, { token: "other-token" }),
    });
    const again = (connect: Connect) => resolve(connect, registry);
    await surviving({ registries: [registry, other], again }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(other.requests.filter(({ path }) => path === "/token").length).toBeGreaterThan(0);
    expect(other.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test("row 3: the POST of an identity token is never sent again elsewhere", async () => {
    await using other = await startRegistry({ tls: certificates.server });
    const identityTokens = { "refresh-me-secret": "ada" };
    await using registry = await start({ type: "bearer", users, identityTokens }, true);
    registry.fault("token-answer", { status: 307, headers: { location: `${other.url}/token` } });
    const identity = { identityToken: "refresh-me-secret", origin: "x" };
    const use = (connect: Connect) =>
      connect(registry, { ...options(registry), credential: identity })
        .repository("a")
        .resolve("v1");
    const error = await surviving(
      { registries: [registry], again: use, secrets: ["refresh-me-secret"] },
      (connect) => failureOf(use(connect)),
    );
    expect(error.message).toContain("307");
    expect(other.requests).toEqual([]);
  });
});

describe("row 4: a realm that leads nowhere", () => {
  test.each([
    ['Bearer service="s"', /names no token service \(Bearer without a realm\)/],
    ['Bearer realm=""', /names no token service/],
    ['Bearer realm="null://host/v2/token"', /null:\/\/host is not https/],
    ['Bearer realm="http://"', /is no URL/],
  ])("row 4: %s is named in the error", async (line, message) => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("challenge", { lines: [line] });
    const again = (connect: Connect) => resolve(connect, registry);
    const error = await surviving({ registries: [registry], again }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(error.code).toBe("AUTH");
    expect(error.message).toMatch(message);
  });

  test("row 4: a relative realm belongs to the registry", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("challenge", { lines: ['Bearer realm="/token?own=1",service="s"'] });
    registry.fault("token-answer", { status: 403, beforeAuth: true });
    const error = await surviving({ registries: [registry] }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(error.message).toContain(
      `${registry.host} refused the credentials from config.json (key x) (403)`,
    );
    const asked = registry.requests.filter(({ path }) => path === "/token");
    expect(asked.map(({ origin, url }) => [origin, url])).toEqual([
      ["registry", "/token?own=1&service=s&scope=repository%3Aa%3Apull"],
    ]);
  });
});

describe("row 5: what token services answer", () => {
  test.each([
    ["an empty object", "{}"],
    ["an empty token", '{"token":""}'],
    ["a login page", "<html><body>Log in</body></html>"],
    ["nothing", ""],
    ["a token of another type", '{"token":17}'],
    ["a token with a line break in it", '{"token":"a\\r\\nx-evil: 1"}'],
    ["10 MB", `{"token":"${"x".repeat(10_000_000)}"}`],
  ])("row 5: %s is no token", async (_name, body) => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("token-answer", { body });
    const again = (connect: Connect) => resolve(connect, registry);
    const error = await surviving({ registries: [registry], again }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("returned no token");
    expect(error.message.length).toBeLessThan(300);
  });

  test.each([
    ["0", 0, 60],
    ["-1", -1, 60],
    ['"300" as text', "300", 300],
    ["none", undefined, 60],
    ["a date", "2030-01-01", 60],
    ["null", null, 60],
    ["half a minute", 30, 60],
    ["ages", 1e300, 86_400],
  ])("row 5: expires_in %s", async (_name, expires_in, seconds) => {
    await using registry = await start({ type: "bearer", users });
    await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, options(registry));
      const repository = watched.repository("a");
      registry.customFault("life", {
        path: /^\/token$/,
        transform: (reply) => {
          const { expires_in: _told, ...rest } = JSON.parse(
            Buffer.concat(reply.body ?? []).toString(),
          ) as Record<string, unknown>;
          return jsonReply(200, { ...rest, ...(expires_in === undefined ? {} : { expires_in }) });
        },
      });
      await repository.resolve("v1");
      // It is used until ten seconds before its end, and renewed then.
      watched.clock.advance((seconds - 11) * 1000);
      await repository.resolve("v1");
      expect(tokenRequests(registry)).toHaveLength(1);
      watched.clock.advance(2000);
      await repository.resolve("v1");
      expect(tokenRequests(registry)).toHaveLength(2);
    });
  });
});

test("row 6: a fresh token is rejected for ever: one renewal a request, and no loop", async () => {
  await using registry = await start({ type: "bearer", users });
  const again = (connect: Connect) => resolve(connect, registry);
  const error = await surviving({ registries: [registry], again }, async (connect) => {
    const watched = connect(registry, options(registry));
    await watched.client.connect();
    const [{ url } = { url: "" }] = await tokenUrl(registry);
    registry.fault("reject-tokens", { realm: url, beforeAuth: true });
    return await failureOf(watched.repository("a").resolve("v1"));
  });
  expect(error.code).toBe("AUTH");
  expect(error.message).toContain("token rejected");
  expect(error.message).toContain(registry.host);
  const manifests = registry.requests.filter(({ path }) => path.includes("/manifests/"));
  // Two tries of the fault, and one of the run after it.
  expect(manifests.filter(({ status }) => status === 401)).toHaveLength(2);
});

/** The URL of the registry's token service, out of its own challenge. */
async function tokenUrl(registry: TestRegistry): Promise<readonly { readonly url: string }[]> {
  const answer = await fetch(`${registry.url}/v2/`);
  await answer.arrayBuffer();
  const realm = /realm="([^"]+)"/.exec(answer.headers.get("www-authenticate") ?? "")?.[1];
  return realm === undefined ? [] : [{ url: realm }];
}

describe("row 8: a token with fewer rights than were asked for", () => {
  const pullOnly = () => ["pull"];
  const bytes = randomBytesOf("row 8", 5000);

  test("row 8: 401 insufficient_scope: asked for once more, then it is no push access", async () => {
    await using registry = await start({ type: "bearer", users, rights: pullOnly });
    const error = await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, options(registry));
      await watched.repository("a").resolve("v1");
      return await failureOf(watched.repository("a").push(blobSource(bytes)));
    });
    expect(error.code).toBe("DENIED");
    expect(error.message).toContain("no push access");
    expect(error.hint).toContain(registry.host);
    expect(tokenRequests(registry).length).toBeLessThanOrEqual(3);
  });

  test.each(["POST", "PUT"])(
    "row 8: 403 DENIED to %s is no push access, and not tried again",
    async (method) => {
      await using registry = await start({ type: "bearer", users });
      const push = (connect: Connect) =>
        connect(registry, options(registry)).repository("a").push(blobSource(bytes));
      registry.fault("status", {
        status: 403,
        body: '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}',
        match: { method, path: /\/uploads\// },
      });
      const error = await surviving({ registries: [registry], again: push }, (connect) =>
        failureOf(push(connect)),
      );
      expect(error.code).toBe("DENIED");
      expect(error.message).toContain("no push access");
      expect(registry.requests.filter(({ status }) => status === 403)).toHaveLength(1);
    },
  );

  test("row 8: a right that the server names later is asked for", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("challenge", { lines: ["{own}"] });
    const push = (connect: Connect) =>
      connect(registry, options(registry)).repository("a").push(blobSource(bytes));
    expect(await surviving({ registries: [registry], again: push }, push)).toBe("stored");
  });
});

test("row 9: the ping is open to all, the manifest is not", async () => {
  await using registry = await start({ type: "basic", users });
  registry.fault("status", { status: 200, match: { path: /^\/v2\/$/ }, beforeAuth: true });
  const again = (connect: Connect) => resolve(connect, registry);
  const digest = await surviving({ registries: [registry], again }, (connect) => resolve(connect, registry));
  expect(digest).toBe(image.descriptor.digest);
  const [first] = registry.requests.filter(({ path }) => path.includes("/manifests/"));
  expect(first?.headers.authorization).toBeUndefined();
});

test("row 10: twenty workers meet an ended token together: one new one", async () => {
  await using registry = await start({ type: "bearer", users });
  await surviving({ registries: [registry] }, async (connect) => {
    const repository = connect(registry, options(registry)).repository("a");
    await repository.resolve("v1");
    registry.expireTokens();
    await Promise.all(Array.from({ length: 20 }, () => repository.resolve("v1")));
    expect(tokenRequests(registry)).toHaveLength(2);
  });
});
