import { describe, expect, test } from "vitest";
import { redirectTarget } from "../../src/registry/leads.ts";
import { AddressGuard } from "../../src/registry/net/guard.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { blobSource, collect, connectTo, descriptorOf, failureOf, type Watched } from "./support.ts";

const users = { ada: "s3cret" };
const credential = { username: "ada", password: "s3cret", origin: "config.json" };
const bytes = randomBytesOf("redirects", 50_000);
const descriptor = descriptorOf(bytes);
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

async function start(secure = false): Promise<TestRegistry> {
  const tls = secure ? { tls: certificates.server } : {};
  const registry = await startRegistry({ auth: { type: "basic", users }, ...tls });
  registry.putBlob("a", bytes);
  return registry;
}
const connect = (registry: TestRegistry): Watched =>
  connectTo(registry, {
    plainHttp: registry.url.startsWith("http:"),
    credential,
    ca: [certificates.ca.cert],
  });

describe("a blob behind a redirect", () => {
  test.each([301, 302, 303, 307, 308])("%i leads to the storage, without Authorization", async (status) => {
    await using registry = await start();
    registry.fault("redirect-blobs", { status });
    await using watched = connect(registry);
    expect(await collect(await watched.repository("a").open(descriptor))).toEqual(bytes);
    const [stored] = registry.requests.filter(({ origin }) => origin === "storage");
    expect(stored?.status).toBe(200);
    expect(stored?.headers.authorization).toBeUndefined();
    expect(stored?.headers["accept-encoding"]).toBe("identity");
  });

  test("keeps its range, over TLS as well", async () => {
    await using registry = await start(true);
    registry.fault("redirect-blobs");
    await using watched = connect(registry);
    expect(await collect(await watched.repository("a").open(descriptor, { offset: 49_000 }))).toEqual(
      bytes.subarray(49_000),
    );
    const [stored] = registry.requests.filter(({ origin }) => origin === "storage");
    expect(stored?.headers.range).toBe("bytes=49000-49999");
    expect(stored?.status).toBe(206);
  });

  test("every opening asks the registry again, since signed URLs end", async () => {
    await using registry = await start();
    registry.fault("redirect-blobs");
    await using watched = connect(registry);
    const repository = watched.repository("a");
    await collect(await repository.open(descriptor));
    await collect(await repository.open(descriptor, { offset: 10 }));
    expect(registry.count("GET", /^\/v2\/a\/blobs\//)).toBe(2);
  });

  test("is found by HEAD too", async () => {
    await using registry = await start();
    registry.fault("redirect-blobs");
    await using watched = connect(registry);
    expect(await watched.repository("a").has(descriptor)).toBe(true);
  });

  test("keeps Authorization within the origin, hop after hop", async () => {
    await using registry = await start();
    const to = (hop: number): string => `/v2/b/blobs/${descriptor.digest}?hop=${hop}`;
    registry.fault("redirect-blobs", { location: to(1), match: { path: /\/a\/blobs\// } });
    registry.customFault("a hop further each time", {
      path: /\/b\/blobs\//,
      intercept: ({ query }) => ({ status: 307, headers: { location: to(Number(query.get("hop")) + 1) } }),
    });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.message).toContain("more than 10 times");
    const hops = registry.requests.filter(({ path }) => path.startsWith("/v2/b/"));
    expect(hops).toHaveLength(10);
    expect(hops.every(({ headers }) => headers.authorization !== undefined)).toBe(true);
  });

  test("that leads to itself is a circle, and followed once", async () => {
    await using registry = await start();
    registry.fault("redirect-blobs", { location: `/v2/b/blobs/${descriptor.digest}` });
    registry.putBlob("b", bytes);
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.message).toContain("in a circle");
    expect(registry.requests.filter(({ path }) => path.startsWith("/v2/b/"))).toHaveLength(1);
  });
});

describe("a redirect", () => {
  test("from https to http is refused, and nothing is sent there", async () => {
    await using plain = await startRegistry();
    await using registry = await start(true);
    registry.fault("redirect-blobs", { location: `${plain.url}/loot` });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toMatch(/from https:\/\/ to http:\/\//);
    expect(error.hint).toContain("encryption");
    expect(plain.requests).toEqual([]);
  });

  test.each([
    ["http://", /no URL/],
    ["ftp://127.0.0.1/x", /ftp/],
    ["file:///etc/passwd", /file/],
  ])("to %s is refused", async (location, message) => {
    await using registry = await start();
    registry.fault("redirect-blobs", { location });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toMatch(message);
  });

  test("with a password in it is refused, and not shown", async () => {
    await using registry = await start();
    registry.fault("redirect-blobs", { location: `http://eve:h1dden@${registry.host}/x` });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.message).toContain("password");
    expect(error.message).not.toContain("h1dden");
  });

  test("without Location leads nowhere", async () => {
    await using registry = await start();
    registry.fault("status", { status: 307, match: { path: /\/blobs\// } });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a").open(descriptor));
    expect(error.message).toContain("redirects to nowhere (307 without a Location)");
  });

  test("of a write is not followed", async () => {
    await using registry = await start();
    const image = await makeImage();
    seed(registry, "a", "v1", image);
    registry.fault("status", {
      status: 307,
      headers: { location: "/v2/b/manifests/v1" },
      match: { method: "PUT" },
    });
    await using watched = connect(registry);
    const manifest = blobSource(image.manifest, { descriptor: image.descriptor, isManifest: true });
    const error = await failureOf(watched.repository("a").tag(manifest, "v1"));
    expect(error.message).toContain("answered 307");
    expect(registry.count("PUT", /./)).toBe(1);
  });
});

describe("where a Location leads", () => {
  const from = new URL("https://registry.example/v2/a");
  const target = (location: string) => () =>
    redirectTarget(location, from, "read x", new AddressGuard(from.host)).href;

  test.each([
    ["/b?c=d%3D&e='", "https://registry.example/b?c=d%3D&e=%27"],
    ["https://cdn.example/x?X-Amz-Signature=a%2Fb", "https://cdn.example/x?X-Amz-Signature=a%2Fb"],
    // Header bytes come as latin1: what was UTF-8 has to be read again.
    [Buffer.from("/ä").toString("latin1"), "https://registry.example/%C3%A4"],
  ])("%s", (location, expected) => {
    expect(target(location)()).toBe(expected);
  });

  test.each([
    "https://127.0.0.1/x",
    "https://localhost/x",
    "https://localhost./x",
    "https://app.localhost:5000/x",
    "https://10.1.2.3/x",
    "https://172.31.0.1/x",
    "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/x",
    "https://[fe80::1]/x",
    "https://[fd00:ec2::254]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://0x7f000001/x",
    "https://0.0.0.0/x",
    "https://[::]/x",
  ])("%s is a local address, to which no remote registry leads", (location) => {
    expect(target(location)).toThrow("local address");
  });

  test("a local registry may lead to local addresses", () => {
    const local = new URL("http://10.0.0.1:5000/v2/");
    expect(redirectTarget("http://10.0.0.2:9000/x", local, "read x", new AddressGuard(local.host)).host).toBe(
      "10.0.0.2:9000",
    );
  });
});
