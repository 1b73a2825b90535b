import { Readable } from "node:stream";
import { afterAll, describe, expect, test } from "vitest";
import { RegistryClient } from "../../src/registry/client.ts";
import { singleHeader } from "../../src/registry/http.ts";
import { sessionLocation } from "../../src/registry/upload/upload-place.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { blobSource, connectTo, descriptorOf, failureOf } from "./support.ts";

const bytes = randomBytesOf("locations", 100_000);
const { digest } = descriptorOf(bytes);
const users = { ada: "s3cret" };
const credential = { username: "ada", password: "s3cret", origin: "config.json" };
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

/** Rewrites the Location of every answer of an upload. */
function rewrite(registry: TestRegistry, change: (location: string) => string): void {
  registry.customFault("other location", {
    path: /uploads/,
    transform: (reply) => {
      const location = reply.headers?.["location"];
      if (typeof location !== "string") return undefined;
      return { ...reply, headers: { ...reply.headers, location: change(location) } };
    },
  });
}

describe("the session's Location", () => {
  test.each([["2.8"], ["3"]] as const)(
    "is opaque: its state comes back as it was (dialect %s)",
    async (dialect) => {
      await using registry = await startRegistry({ dialect });
      const given: string[] = [];
      rewrite(registry, (location) => {
        given.push(location.replace(/^[a-z]+:\/\/[^/]+/, ""));
        return location;
      });
      await using watched = connectTo(registry, { plainHttp: true, chunkBytes: 60_000 });
      await watched.repository("a").push(blobSource(bytes));
      const [patch, put] = registry.requests.filter(({ method }) => method === "PATCH" || method === "PUT");
      expect(patch?.url).toBe(given[0]);
      expect(put?.url).toBe(`${given[1]}&digest=${encodeURIComponent(digest)}`);
    },
  );

  test("may be a path", async () => {
    await using registry = await startRegistry();
    registry.fault("relative-location");
    await using watched = connectTo(registry, { plainHttp: true });
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
  });

  test("may be without a query", async () => {
    await using registry = await startRegistry({ dialect: "3" });
    rewrite(registry, (location) => location.replace(/\?.*$/, ""));
    await using watched = connectTo(registry, { plainHttp: true });
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
  });

  test("that a proxy without X-Forwarded-Proto made http is taken as https", async () => {
    await using registry = await startRegistry({ tls: certificates.server, auth: { type: "basic", users } });
    rewrite(registry, (location) => location.replace(/^https:/, "http:"));
    await using watched = connectTo(registry, { ca: [certificates.ca.cert], credential, chunkBytes: 60_000 });
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
  });

  test.each([true, false])("that lost the port of the registry gets it back (TLS: %s)", async (secure) => {
    const tls = secure ? { tls: certificates.server } : {};
    await using registry = await startRegistry({ ...tls, auth: { type: "basic", users } });
    rewrite(registry, (location) => location.replace(/:\d+\//, "/"));
    await using watched = connectTo(registry, { ca: [certificates.ca.cert], credential, plainHttp: !secure });
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
  });

  test("at another origin is used without Authorization", async () => {
    await using other = await startRegistry({ dialect: "3" });
    await using watched = connectTo(other, { plainHttp: true });
    await using registry = await startRegistry({ auth: { type: "basic", users } });
    const opened = await watched.client.request({
      method: "POST",
      path: "/v2/a/blobs/uploads/",
      what: "open a session",
      scopes: [],
      body: "",
      accept: [202],
    });
    rewrite(registry, () => singleHeader(opened, "location") ?? "");
    await using own = connectTo(registry, { plainHttp: true, credential });
    await own.repository("a").push(blobSource(bytes));
    expect(other.blob("a", digest)).toEqual(bytes);
    expect(other.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("that is missing fails", async () => {
    await using registry = await startRegistry();
    registry.fault("status", { status: 202, match: { method: "POST" } });
    await using watched = connectTo(registry, { plainHttp: true });
    const error = await failureOf(watched.repository("a").push(blobSource(bytes)));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("no upload location");
  });
});

describe("a Location that is not safe", () => {
  const from = new URL("https://registry.example:5000/v2/a/blobs/uploads/");
  const client = new RegistryClient("registry.example:5000");
  afterAll(async () => await client.close());
  const locate = (location: string): URL =>
    sessionLocation(
      { status: 202, headers: { location }, body: Readable.from([]), url: from },
      { client, repository: "a", scopes: [] },
    );

  test.each([
    ["to plain HTTP on another host", "http://other.example/x"],
    ["to plain HTTP on another port", "http://registry.example:5001/x"],
    ["of another kind", "ftp://registry.example:5000/x"],
    ["with a password", "https://eve:h1dden@registry.example:5000/x"],
    ["of this machine", "https://127.0.0.1/x"],
    ["of this machine, by name", "https://localhost:5000/x"],
    ["of this network", "https://10.0.0.1:5000/x"],
    ["of the cloud's metadata", "https://169.254.169.254/latest"],
    ["that is no URL", "https://"],
  ])("%s is refused", (_name, location) => {
    expect(() => locate(location)).toThrow(/Cannot upload to registry\.example:5000\/a/);
    expect(() => locate(location)).not.toThrow(/h1dden/);
  });

  test.each([
    ["https://storage.example/x?a=b%3D", "https://storage.example/x?a=b%3D"],
    ["http://registry.example:5000/x", "https://registry.example:5000/x"],
    ["http://registry.example/x", "https://registry.example:5000/x"],
    ["https://registry.example/x", "https://registry.example:5000/x"],
    ["/artifacts-uploads/x", "https://registry.example:5000/artifacts-uploads/x"],
    ["x?y", "https://registry.example:5000/v2/a/blobs/uploads/x?y"],
  ])("while %s is %s", (location, expected) => {
    expect(locate(location).href).toBe(expected);
  });
});
