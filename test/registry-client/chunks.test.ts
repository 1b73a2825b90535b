import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UploadManners } from "../../src/registry/upload/manners.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { blobSource, connectTo, descriptorOf, failureOf, logged, type Watched } from "./support.ts";

const MiB = 1024 * 1024;
const bytes = randomBytesOf("chunks", 250_000);
const { digest } = descriptorOf(bytes);

let registry: TestRegistry;
beforeEach(async () => {
  // Dialect 3 refuses chunks whose Content-Range or length is wrong.
  registry = await startRegistry({ dialect: "3" });
});
afterEach(async () => await registry.close());

const connect = (chunkBytes?: number): Watched => connectTo(registry, { plainHttp: true, chunkBytes });
const shape = (): readonly (readonly [string, number])[] =>
  registry.requests
    .filter(({ method, status }) => (method === "PATCH" || method === "PUT") && status < 300)
    .map(({ method, bytesIn }) => [method, bytesIn]);
const ranges = (): readonly (string | undefined)[] =>
  logged(registry, "PATCH", /./).map(({ headers }) => headers["content-range"]);

describe("chunks", () => {
  test.each([1000, 65_536, 70_000, 250_001])("have exact ends, in pieces of %i bytes", async (pieceBytes) => {
    await using watched = connect(100_000);
    await watched.repository("a").push(blobSource(bytes, { pieceBytes }));
    expect(registry.blob("a", digest)).toEqual(bytes);
    // The last one travels in the closing PUT.
    expect(shape()).toEqual([
      ["PATCH", 100_000],
      ["PATCH", 100_000],
      ["PUT", 50_000],
    ]);
    expect(ranges()).toEqual(["0-99999", "100000-199999"]);
    for (const { headers } of logged(registry, "PATCH", /./)) {
      expect(headers["content-length"]).toBe("100000");
      expect(headers["content-type"]).toBe("application/octet-stream");
    }
  });

  test.each([
    [249_999, ["PATCH", "PUT"]],
    [250_000, ["PUT"]],
    [125_000, ["PATCH", "PUT"]],
  ])("of %i bytes cut 250000 bytes into %j", async (chunkBytes, methods) => {
    await using watched = connect(chunkBytes);
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
    expect(shape().map(([method]) => method)).toEqual(methods);
    expect(Math.min(...shape().map(([, size]) => size))).toBeGreaterThan(0);
  });

  test.each([200, 201, 204])("may be answered with %i, as ECR does", async (status) => {
    registry.customFault("other status", {
      methods: ["PATCH"],
      path: /uploads/,
      transform: (reply) => (reply.status === 202 ? { ...reply, status } : undefined),
    });
    await using watched = connect(100_000);
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
  });

  test.each(["0-0", "0-99999", "0--1", "bytes=0-99"])(
    "go on by our own count, whatever Range says: %s",
    async (range) => {
      registry.customFault("stuck range", {
        methods: ["PATCH"],
        path: /uploads/,
        transform: (reply) => ({ ...reply, headers: { ...reply.headers, range } }),
      });
      await using watched = connect(60_000);
      await watched.repository("a").push(blobSource(bytes));
      expect(registry.blob("a", digest)).toEqual(bytes);
    },
  );

  test("each answer's Location replaces the one before it", async () => {
    await using old = await startRegistry({ dialect: "2.8" });
    await using watched = connectTo(old, { plainHttp: true, chunkBytes: 100_000 });
    // 2.8 refuses every state but its last one.
    await watched.repository("a").push(blobSource(bytes));
    expect(old.blob("a", digest)).toEqual(bytes);
    const urls = old.requests
      .filter(({ method }) => method !== "POST" && method !== "GET")
      .map(({ url }) => url);
    expect(new Set(urls).size).toBe(3);
  });

  test("that are cut begin anew, and nothing is sent twice into one session", async () => {
    await using old = await startRegistry({ dialect: "2.8" });
    old.fault("drop-upload-after", { bytes: 10_000, skip: 1, times: 2 });
    await using watched = connectTo(old, { plainHttp: true, chunkBytes: 100_000 });
    await watched.repository("a").push(blobSource(bytes));
    expect(old.blob("a", digest)).toEqual(bytes);
    expect(old.count("POST", /uploads/)).toBe(3);
    const inOne = Map.groupBy(
      old.requests.filter(({ method }) => method === "PATCH"),
      ({ path }) => path,
    );
    for (const requests of inOne.values()) {
      const sent = requests.map(({ headers }) => headers["content-range"]);
      expect(new Set(sent).size).toBe(sent.length);
    }
  });

  test("of wrong content never complete", async () => {
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(wrong.readUInt8(10) ^ 1, 10);
    await using watched = connect(100_000);
    const source = blobSource(wrong, { descriptor: descriptorOf(bytes) });
    expect((await failureOf(watched.repository("a").push(source))).code).toBe("INTEGRITY");
    expect(shape().map(([method]) => method)).not.toContain("PUT");
    expect(registry.repositories()).toEqual([]);
  });
});

describe("a request that is too large", () => {
  const large = randomBytesOf("large", 6 * MiB);

  test("is followed by smaller ones, and that is remembered", async () => {
    registry.fault("body-limit", { bytes: 5 * MiB });
    await using watched = connect();
    await watched.repository("a").push(blobSource(large));
    expect(registry.blob("a", descriptorOf(large).digest)).toEqual(large);
    expect(shape()).toEqual([
      ["PATCH", 4 * MiB - 64 * 1024],
      ["PUT", 2 * MiB + 64 * 1024],
    ]);
    const second = randomBytesOf("second", 6 * MiB);
    registry.resetLog();
    await watched.repository("b").push(blobSource(second));
    expect(registry.blob("b", descriptorOf(second).digest)).toEqual(second);
    expect(registry.requests.every(({ status }) => status < 400)).toBe(true);
  });

  test("is learned once by uploads that run side by side", async () => {
    registry.fault("body-limit", { bytes: 5 * MiB });
    await using watched = connect();
    const all = Array.from({ length: 5 }, (_, index) => randomBytesOf(`beside ${index}`, 6 * MiB));
    await Promise.all(all.map(async (content) => await watched.repository("a").push(blobSource(content))));
    for (const content of all) expect(registry.blob("a", descriptorOf(content).digest)).toEqual(content);
    const sizes = new Set(logged(registry, "PATCH", /./).map(({ headers }) => headers["content-length"]));
    expect(sizes).toEqual(new Set([`${4 * MiB - 64 * 1024}`]));
  });

  test("is also a 416 that says so, as GHCR has it", async () => {
    registry.fault("status", {
      status: 416,
      body: '{"errors":[{"code":"UNKNOWN","message":"request body is too large. Limit: 4.00MiB"}]}',
      match: { method: "PUT" },
      times: 1,
    });
    await using watched = connect();
    await watched.repository("a").push(blobSource(large));
    expect(registry.blob("a", descriptorOf(large).digest)).toEqual(large);
    expect(logged(registry, "PATCH", /./)).toHaveLength(1);
  });

  test("fails with the way out when nothing smaller is left", async () => {
    registry.fault("body-limit", { bytes: 1000 });
    await using watched = connect();
    const error = await failureOf(watched.repository("a").push(blobSource(large)));
    expect(error.message).toContain("413");
    expect(error.hint).toContain("client_max_body_size");
    expect(registry.count("POST", /uploads/)).toBeLessThanOrEqual(5);
    await expect.poll(() => registry.openUploads).toBe(0);
  });
});

describe("refused chunks", () => {
  // Only over 64 MiB are chunks sent unasked.
  const large = randomBytesOf("very large", 65 * MiB);

  test("are followed by the whole, by uploads side by side too, and that is remembered", async () => {
    registry.fault("reject-patch");
    await using watched = connect();
    const source = blobSource(large, { pieceBytes: MiB });
    await Promise.all(["a", "b"].map(async (name) => await watched.repository(name).push(source)));
    expect(shape()).toEqual([
      ["PUT", large.length],
      ["PUT", large.length],
    ]);
    registry.resetLog();
    await watched.repository("c").push(source);
    expect(registry.count("PATCH", /./)).toBe(0);
    expect(registry.blob("c", source.descriptor.digest)?.equals(large)).toBe(true);
  });

  test("fail where the user wants chunks", async () => {
    registry.fault("reject-patch");
    await using watched = connect(100_000);
    const error = await failureOf(watched.repository("a").push(blobSource(bytes)));
    expect(error.message).toContain("405");
    expect(registry.count("PATCH", /./)).toBe(1);
  });
});

describe("known hosts", () => {
  test.each([
    "ghcr.io",
    "europe-docker.pkg.dev",
    "gcr.io",
    "1.dkr.ecr.eu-west-1.amazonaws.com",
    "x.azurecr.io",
    "docker.io",
  ])("%s gets blobs whole", (host) => {
    expect(new UploadManners(host, undefined).chunkFor(10 ** 10)).toBeUndefined();
  });

  test.each(["notghcr.io.example", "xghcr.io", "registry.example:5000"])("%s gets chunks", (host) => {
    expect(new UploadManners(host, undefined).chunkFor(10 ** 10)).toBe(64 * MiB);
    expect(new UploadManners(host, undefined).chunkFor(64 * MiB)).toBeUndefined();
  });

  test("the user's wish counts more", () => {
    expect(new UploadManners("ghcr.io", 1000).chunkFor(1001)).toBe(1000);
    expect(new UploadManners("ghcr.io", 1000).chunkFor(1000)).toBeUndefined();
  });

  test.each([
    ["ghcr.io", 4 * MiB - 64 * 1024],
    ["1.dkr.ecr.eu-west-1.amazonaws.com", 16 * MiB],
    ["x.azurecr.io", 4 * MiB - 64 * 1024],
    ["docker.io", 90_000_000],
  ])("%s gets chunks of its own size where whole blobs are too large after all", (host, size) => {
    const manners = new UploadManners(host, undefined);
    expect(manners.tooLarge(10 ** 9)).toBe(true);
    expect(manners.chunkFor(10 ** 9)).toBe(size);
  });

  test("Google gets none", () => {
    const manners = new UploadManners("europe-docker.pkg.dev", undefined);
    expect(manners.tooLarge(10 ** 9)).toBe(false);
    expect(manners.chunkFor(10 ** 9)).toBeUndefined();
  });

  test("ECR's minimum is kept, also where a proxy would want less", () => {
    const manners = new UploadManners("1.dkr.ecr.eu-west-1.amazonaws.com", undefined);
    expect(manners.tooLarge(16 * MiB)).toBe(true);
    expect(manners.chunkFor(10 ** 9)).toBe(5 * MiB);
    expect(manners.tooLarge(5 * MiB)).toBe(false);
  });
});

describe("limits on both sides", () => {
  test("a minimum over the ceiling ends it", () => {
    const manners = new UploadManners("registry.example", undefined);
    expect(manners.tooLarge(16 * MiB)).toBe(true);
    expect(manners.tooSmall(4 * MiB - 64 * 1024)).toBe(true);
    expect(manners.chunkFor(10 ** 9)).toBe(5 * MiB);
    expect(manners.tooLarge(5 * MiB)).toBe(false);
  });

  test("a minimum that the registry names counts up to 1 GiB", () => {
    const manners = new UploadManners("registry.example", 1000);
    manners.atLeast(10 ** 12);
    expect(manners.chunkFor(10 ** 13)).toBe(1024 * MiB);
    expect(manners.chunkFor(10 ** 9)).toBeUndefined();
  });

  test("what one blob learned is not learned again by another one that hit the same limit", () => {
    const manners = new UploadManners("registry.example", undefined);
    for (const size of [50 * MiB, 60 * MiB, 55 * MiB]) expect(manners.tooLarge(size)).toBe(true);
    expect(manners.chunkFor(10 ** 9)).toBe(16 * MiB);
  });
});
