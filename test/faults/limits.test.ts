/** Row 50 of the fault list: limits on requests, wherever and however a registry states them. */
import { describe, expect, test } from "vitest";
import { type RegistryOptions, startRegistry, type TestRegistry } from "../registry/registry.ts";
import { failureOf } from "../registry-client/support.ts";
import { makeImage, seed } from "../support/images.ts";
import { type Connect, surviving } from "./support.ts";

const image = await makeImage();
const manifests = /\/manifests\//;

async function start(auth?: RegistryOptions["auth"]): Promise<TestRegistry> {
  const registry = await startRegistry(auth === undefined ? {} : { auth });
  seed(registry, "a", "v1", image);
  return registry;
}
const plain = { plainHttp: true };
const resolve = async (connect: Connect, registry: TestRegistry): Promise<string> =>
  (await connect(registry, plain).repository("a").resolve("v1")).digest;

const bodies = {
  JSON: '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}',
  "plain text": "Too Many Requests (HAP429).",
  HTML: "<html><body><h1>429 Too Many Requests</h1></body></html>",
};

describe("row 50: too many requests", () => {
  test.each(Object.entries(bodies))("row 50: said in %s: waited for, then it works", async (_name, body) => {
    await using registry = await start();
    registry.fault("status", { status: 429, body, times: 2, match: { path: manifests } });
    const again = (connect: Connect) => resolve(connect, registry);
    const digest = await surviving({ registries: [registry], again }, (connect) =>
      resolve(connect, registry),
    );
    expect(digest).toBe(image.descriptor.digest);
  });

  test("row 50: the final error shows limit, remaining and reset, and no markup", async () => {
    await using registry = await start();
    registry.fault("status", {
      status: 429,
      body: bodies.HTML,
      headers: {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "0;w=21600",
        "retry-after": "1200",
      },
      match: { path: manifests },
    });
    const again = (connect: Connect) => resolve(connect, registry);
    const error = await surviving({ registries: [registry], again }, (connect) =>
      failureOf(resolve(connect, registry)),
    );
    expect(error.message).toContain("limit 100 in 6 h, 0 remaining, renews in 20 min");
    expect(error.message).not.toContain("<");
    expect(error.hint).toContain("log in");
  });

  test.each([
    ["5", 5000],
    ["-1", 0],
    ["99999999", 120_000],
    ["garbage", 0],
    [new Date(0).toUTCString(), 0],
    [new Date(Date.now() + 1e9).toUTCString(), 120_000],
  ])("row 50: Retry-After %s pauses %i ms at least, and two minutes at most", async (retryAfter, leastMs) => {
    await using registry = await start();
    registry.fault("rate-limit", { retryAfter, times: 1, match: { path: manifests } });
    await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, plain);
      await watched.repository("a").resolve("v1");
      const [waitedMs = -1] = watched.clock.sleeps;
      expect(waitedMs).toBeGreaterThanOrEqual(leastMs);
      expect(waitedMs).toBeLessThan(leastMs + 1000);
    });
  });

  test("row 50: all workers of the host pause, those that were not told too", async () => {
    await using registry = await start();
    registry.fault("rate-limit", { retryAfter: "60", times: 1, match: { path: manifests } });
    await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, plain);
      const repository = watched.repository("a");
      const startedMs = watched.clock.now();
      await repository.resolve("v1");
      expect(watched.clock.now() - startedMs).toBeGreaterThanOrEqual(60_000);
      const { pace } = watched.client;
      pace.pause(30_000);
      const before = watched.clock.now();
      await Promise.all(Array.from({ length: 4 }, () => repository.resolve("v1")));
      expect(watched.clock.now() - before).toBeGreaterThanOrEqual(30_000);
    });
  });

  test("row 50: on the token service", async () => {
    await using registry = await start({ type: "bearer", users: {}, anonymousPull: true });
    registry.fault("token-answer", {
      status: 429,
      headers: { "retry-after": "7" },
      body: "Too Many Requests",
      times: 1,
    });
    const again = (connect: Connect) => resolve(connect, registry);
    await surviving({ registries: [registry], again }, async (connect) => {
      const watched = connect(registry, plain);
      expect((await watched.repository("a").resolve("v1")).digest).toBe(image.descriptor.digest);
      expect(watched.clock.sleeps[0]).toBeGreaterThanOrEqual(7000);
    });
  });

  test.each([
    [403, '{"errors":[{"code":"DENIED","message":"API rate limit exceeded"}]}'],
    [400, '{"errors":[{"code":"ThrottlingException","message":"Rate exceeded"}]}'],
    [503, '{"errors":[{"code":"UNAVAILABLE"}]}'],
    [403, '{"errors":[{"code":"TOOMANYREQUESTS"}]}'],
  ])("row 50: said by %i %s", async (status, body) => {
    await using registry = await start();
    registry.fault("status", { status, body, times: 1, match: { path: manifests, method: "GET" } });
    await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, plain);
      const { descriptor } = await watched.repository("a").manifest("v1");
      expect(descriptor.digest).toBe(image.descriptor.digest);
      expect(watched.retries).toHaveLength(1);
    });
  });
});

describe("a storm of 429s", () => {
  test("every third request: all succeed, fewer at a time, and more again afterwards", async () => {
    await using registry = await start();
    let count = 0;
    registry.customFault("storm", {
      path: manifests,
      intercept: () => {
        count += 1;
        return count % 3 === 0 ? { status: 429, body: [Buffer.from("slow down")] } : undefined;
      },
    });
    await surviving({ registries: [registry] }, async (connect) => {
      const watched = connect(registry, plain);
      const repository = watched.repository("a");
      const { pace } = watched.client;
      await Promise.all(Array.from({ length: 60 }, () => repository.resolve("v1")));
      expect(pace.allowed).toBeLessThan(60);
      expect(pace.transfers.concurrency).toBeLessThanOrEqual(8);
      // 60 answers and the 429s between them: nobody asks again without a pause.
      const limited = registry.requests.filter(({ status }) => status === 429).length;
      expect(registry.requests.length).toBeLessThan(100);
      expect(watched.clock.sleeps.length).toBeGreaterThanOrEqual(limited);
      registry.clearFaults();
      await Promise.all(Array.from({ length: 400 }, () => repository.resolve("v1")));
      expect(pace.allowed).toBeGreaterThan(8);
      expect(pace.transfers.concurrency).toBe(8);
    });
  });

  test("a registry that lets nothing through is given up, unless the user wants to wait", async () => {
    await using registry = await start();
    registry.fault("rate-limit", { retryAfter: "20000", times: 7, match: { path: manifests } });
    await surviving({ registries: [registry] }, async (connect) => {
      const hasty = connect(registry, plain);
      expect((await failureOf(hasty.repository("a").resolve("v1"))).message).toContain(
        "renews in 5 h 34 min",
      );
      const patient = connect(registry, { ...plain, waitsForRateLimit: true });
      expect((await patient.repository("a").resolve("v1")).digest).toBe(image.descriptor.digest);
      expect(Math.max(...patient.clock.sleeps)).toBeGreaterThanOrEqual(20_000_000);
    });
  });
});
