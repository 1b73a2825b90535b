import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { Authenticator } from "../../src/registry/auth.ts";
import { AddressGuard } from "../../src/registry/net/guard.ts";
import { errorReply, jsonReply } from "../registry/errors.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { connectTo, FakeClock, failureOf } from "./support.ts";

const credential = { username: "ada", password: "s3cret", origin: "config.json" };
const image = await makeImage();
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

/** Lets a registry without access control answer everything but its token service with this challenge. */
function challenge(registry: TestRegistry, header: string | readonly string[]): void {
  registry.customFault("challenge", {
    path: /^\/v2\//,
    intercept: ({ headers }) =>
      headers.authorization === "Bearer good"
        ? undefined
        : errorReply([{ code: "UNAUTHORIZED" }], { "www-authenticate": header }),
  });
}

function tokenService(registry: TestRegistry): void {
  registry.customFault("token service", {
    path: /^\/(?:deep\/)?token$/,
    intercept: () => jsonReply(200, { token: "good" }),
  });
}

describe("a realm", () => {
  test.each(["/token", "/deep/token?account=ada"])(
    "%s is resolved against the registry, its query kept",
    async (realm) => {
      await using registry = await startRegistry();
      seed(registry, "a", "v1", image);
      challenge(registry, `Bearer realm="${realm}",service="s"`);
      tokenService(registry);
      await using watched = connectTo(registry, { plainHttp: true, credential });
      expect((await watched.repository("a").resolve("v1")).digest).toBe(image.descriptor.digest);
      const [asked] = registry.requests.filter(({ path }) => path.endsWith("/token"));
      const [path, query] = realm.split("?");
      expect(asked?.path).toBe(path);
      if (query !== undefined) expect(asked?.url).toContain(query);
      expect(asked?.url).toContain("service=s");
    },
  );

  test.each([
    ['Bearer realm="null://host/v2/token",service="s"', /not https/],
    ['Bearer realm="http://",service="s"', /no URL/],
    ['Bearer realm="ftp://host/token"', /not https/],
    ['Bearer realm="javascript:alert(1)"', /not https/],
  ])("that leads nowhere fails: %s", async (header, message) => {
    await using registry = await startRegistry();
    challenge(registry, header);
    await using watched = connectTo(registry, { plainHttp: true, credential });
    const error = await failureOf(watched.repository("a").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toMatch(message);
  });

  test("that is left out cannot be asked: Basic beside it is used, otherwise it fails", async () => {
    await using registry = await startRegistry();
    challenge(registry, ['Bearer service="s"', 'Basic realm="r"']);
    await using watched = connectTo(registry, { plainHttp: true, credential });
    await failureOf(watched.repository("a").resolve("v1"));
    const sent = registry.requests.map(({ headers }) => headers.authorization).filter(Boolean);
    expect(sent[0]).toMatch(/^Basic /);
    registry.clearFaults();
    registry.resetLog();
    challenge(registry, 'Bearer service="s"');
    await using second = connectTo(registry, { plainHttp: true, credential });
    expect((await failureOf(second.repository("a").resolve("v1"))).code).toBe("AUTH");
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("in plain HTTP is refused for a registry with TLS, before anything goes there", async () => {
    await using plain = await startRegistry();
    await using registry = await startRegistry({ tls: certificates.server });
    challenge(registry, `Bearer realm="${plain.url}/token",service="s"`);
    await using watched = connectTo(registry, { ca: [certificates.ca.cert], credential });
    const error = await failureOf(watched.repository("a").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("not https");
    expect(plain.requests).toEqual([]);
  });

  test("that redirects elsewhere does not take the password along", async () => {
    await using other = await startRegistry();
    tokenService(other);
    await using registry = await startRegistry();
    seed(registry, "a", "v1", image);
    challenge(registry, 'Bearer realm="/token"');
    registry.fault("status", {
      status: 307,
      headers: { location: `${other.url}/token` },
      match: { path: /^\/token$/ },
    });
    await using watched = connectTo(registry, { plainHttp: true, credential });
    await watched.repository("a").resolve("v1");
    expect(registry.requests.find(({ path }) => path === "/token")?.headers.authorization).toMatch(/^Basic /);
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("that redirects a POST is not followed: its body is the secret", async () => {
    await using other = await startRegistry();
    await using registry = await startRegistry();
    challenge(registry, 'Bearer realm="/token"');
    registry.fault("status", {
      status: 307,
      headers: { location: `${other.url}/token` },
      match: { path: /^\/token$/ },
    });
    await using watched = connectTo(registry, {
      plainHttp: true,
      credential: { identityToken: "refresh", origin: "x" },
    });
    await failureOf(watched.repository("a").resolve("v1"));
    expect(other.requests).toEqual([]);
  });
});

describe("a challenge from another origin", () => {
  test("is not answered: where a redirect leads, nobody gets our password", async () => {
    await using thief = await startRegistry();
    challenge(thief, `Bearer realm="${thief.url}/token",service="s"`);
    tokenService(thief);
    await using registry = await startRegistry();
    seed(registry, "a", "v1", image);
    registry.fault("status", {
      status: 307,
      headers: { location: `${thief.url}/v2/loot` },
      match: { path: /\/blobs\// },
    });
    await using watched = connectTo(registry, { plainHttp: true, credential });
    const error = await failureOf(watched.repository("a").open(image.config.descriptor));
    expect(error.code).toBe("AUTH");
    expect(thief.requests.map(({ path }) => path)).toEqual(["/v2/loot"]);
    expect(thief.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("is not answered when the ping was redirected either", async () => {
    await using thief = await startRegistry();
    challenge(thief, `Bearer realm="${thief.url}/token",service="s"`);
    tokenService(thief);
    await using registry = await startRegistry();
    seed(registry, "a", "v1", image);
    registry.fault("status", {
      status: 307,
      headers: { location: `${thief.url}/v2/` },
      match: { path: /^\/v2\/$/ },
    });
    await using watched = connectTo(registry, { plainHttp: true, credential });
    expect((await watched.repository("a").resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(thief.requests.map(({ path }) => path)).toEqual(["/v2/"]);
  });
});

describe("a realm at a local address", () => {
  // No test can be a remote host, so the answer is made by hand; nothing is ever sent.
  test.each([
    "https://169.254.169.254/latest",
    "https://127.0.0.1/token",
    "https://localhost/token",
    "https://localhost./token",
    "https://10.0.0.1/token",
    "https://[::1]/token",
    "https://[fd00:ec2::254]/token",
    "https://[::ffff:127.0.0.1]/token",
    "https://2130706433/token",
    "https://0.0.0.0/token",
    "https://[::]/token",
  ])("%s is refused for a remote registry", async (realm) => {
    const auth = new Authenticator({
      transport: async () => {
        throw new Error("something was sent");
      },
      registry: "registry.example",
      credential: async () => credential,
      keepsBack: () => undefined,
      guard: new AddressGuard("registry.example"),
      clock: new FakeClock(),
    });
    auth.learn({
      status: 401,
      headers: { "www-authenticate": `Bearer realm="${realm}"` },
      body: Readable.from([]),
      url: new URL("https://registry.example/v2/"),
    });
    const error = await failureOf(auth.header(["repository:a:pull"]));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("local address");
  });
});
