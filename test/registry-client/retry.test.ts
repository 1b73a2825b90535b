import { describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, connectTo, FakeClock, failureOf, logged, type Watched } from "./support.ts";

const image = await makeImage();
let registry: TestRegistry;
let watched: Watched;
eachTest(
  async () => await startConnected("a"),
  async (made) => {
    ({ registry, watched } = made);
    seed(registry, "a", "v1", image);
    await watched.client.connect();
  },
);

const resolve = async (): Promise<string> => (await watched.repository("a").resolve("v1")).digest;
const manifests = /\/manifests\//;

describe("a passing failure", () => {
  test.each([408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524])("%i is tried again", async (status) => {
    registry.fault("status", { status, times: 2, match: { path: manifests } });
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.retries.map(({ what }) => what)).toEqual(Array(2).fill(expect.stringContaining("a:v1")));
  });

  test("is given up after five tries, with the last answer", async () => {
    registry.fault("status", { status: 503, match: { path: manifests } });
    const error = await failureOf(resolve());
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("503");
    expect(registry.count("HEAD", manifests)).toBe(5);
  });

  test.each([502, 503, 504])(
    "%i from a registry that has answered before is waited out for a minute",
    async (status) => {
      await resolve();
      const awayMs = watched.clock.now();
      registry.customFault("away", {
        path: manifests,
        intercept: () => (watched.clock.now() - awayMs < 50_000 ? { status } : undefined),
      });
      expect(await resolve()).toBe(image.descriptor.digest);
    },
  );

  test("500 is not, however often others were answered", async () => {
    await resolve();
    registry.fault("status", { status: 500, match: { path: manifests } });
    const before = watched.clock.sleeps.length;
    await failureOf(resolve());
    expect(watched.clock.sleeps.length - before).toBe(4);
  });

  test("waits longer each time, by chance up to a limit", async () => {
    registry.fault("status", { status: 503, match: { path: manifests } });
    await failureOf(resolve());
    // The clock's chance is always one half.
    expect(watched.clock.sleeps).toEqual([250, 500, 1000, 2000]);
  });

  test("a connection that breaks before the answer is tried again", async () => {
    registry.customFault(
      "cut",
      { path: manifests, intercept: () => ({ status: 0, raw: (socket) => socket.destroy() }) },
      { times: 3 },
    );
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.retries).toHaveLength(3);
  });

  test("is not tried again once the run is interrupted", async () => {
    registry.fault("status", { status: 503, match: { path: manifests } });
    const controller = new AbortController();
    const clock = new FakeClock();
    await using own = connectTo(registry, { plainHttp: true, clock, onRetry: () => controller.abort() });
    await failureOf(own.repository("a").resolve("v1", { signal: controller.signal }));
    expect(registry.count("HEAD", manifests)).toBe(1);
  });
});

describe("a final answer", () => {
  test.each([400, 402, 403, 405, 406, 409, 410, 412, 415, 451, 501, 505])(
    "%i is not tried again",
    async (status) => {
      registry.fault("status", { status, match: { path: manifests } });
      await failureOf(watched.repository("a").manifest("v1"));
      expect(registry.count("GET", manifests)).toBe(1);
      expect(watched.clock.sleeps).toEqual([]);
    },
  );
});

describe("Retry-After", () => {
  test("in seconds is waited for", async () => {
    registry.fault("rate-limit", { retryAfter: "30", times: 1, match: { path: manifests } });
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.clock.sleeps).toEqual([30_250]);
  });

  test("as a date is waited for", async () => {
    const date = new Date(Date.now() + 60_000).toUTCString();
    registry.fault("rate-limit", { retryAfter: date, times: 1, match: { path: manifests } });
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.clock.sleeps).toHaveLength(1);
    expect(watched.clock.sleeps[0]).toBeGreaterThan(57_000);
    expect(watched.clock.sleeps[0]).toBeLessThan(61_000);
  });

  test.each([
    ["99999999", 120_250],
    ["0", 250],
    ["-1", 250],
    ["soon", 250],
    ["", 250],
    [new Date(0).toUTCString(), 250],
    [new Date(Date.now() + 1e10).toUTCString(), 120_250],
  ])("%j becomes %i ms", async (retryAfter, expected) => {
    registry.fault("rate-limit", { retryAfter, times: 1, match: { path: manifests } });
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.clock.sleeps).toEqual([expected]);
  });

  test("also counts beside other passing statuses", async () => {
    registry.fault("status", {
      status: 503,
      headers: { "retry-after": "12" },
      times: 1,
      match: { path: manifests },
    });
    expect(await resolve()).toBe(image.descriptor.digest);
    expect(watched.clock.sleeps).toEqual([12_250]);
  });

  test("pauses everything that goes to the host", async () => {
    registry.fault("rate-limit", { retryAfter: "30", times: 1, match: { path: manifests } });
    // The clock stands still while it sleeps, until it is let go: what is sent meanwhile would be seen.
    const clock = new HeldClock();
    await using own = connectTo(registry, { plainHttp: true, clock });
    const first = own.repository("a").resolve("v1");
    await expect.poll(() => clock.waiting).toBe(1);
    const others = [own.repository("a").resolve("v1"), own.repository("a").has(image.config.descriptor)];
    await expect.poll(() => clock.waiting).toBe(3);
    expect(registry.count("HEAD", /./)).toBe(1);
    expect(clock.asked.slice(1)).toEqual([30_000, 30_000]);
    clock.release();
    await Promise.all([first, ...others]);
    expect(registry.count("HEAD", /./)).toBe(4);
  });

  test("of an upload counts as well", async () => {
    registry.fault("rate-limit", { retryAfter: "30", times: 1, match: { method: "PUT", path: /uploads/ } });
    await watched.repository("a").push(blobSource(Buffer.from("content")));
    expect(Math.max(...watched.clock.sleeps)).toBeGreaterThanOrEqual(29_000);
  });

  test("one host's pause is not another's", async () => {
    await using other = await startRegistry();
    seed(other, "a", "v1", image);
    await using own = connectTo(other, { plainHttp: true, clock: watched.clock });
    registry.fault("rate-limit", { retryAfter: "30", match: { path: manifests } });
    await failureOf(resolve());
    const before = watched.clock.sleeps.length;
    await own.repository("a").resolve("v1");
    expect(watched.clock.sleeps).toHaveLength(before);
  });
});

test("requests name the program and ask for no compression", async () => {
  await resolve();
  for (const { headers } of logged(registry, "HEAD", /./)) {
    expect(headers["user-agent"]).toContain("oci-mirror");
    expect(headers["accept-encoding"]).toBe("identity");
  }
});

/** A clock whose sleeps last until they are let go. */
class HeldClock extends FakeClock {
  readonly asked: number[] = [];
  #release: (() => void)[] = [];

  get waiting(): number {
    return this.#release.length;
  }

  override async sleep(ms: number): Promise<void> {
    this.asked.push(ms);
    await new Promise<void>((resolve) => this.#release.push(resolve));
  }

  release(): void {
    this.advance(Math.max(...this.asked));
    for (const resolve of this.#release) resolve();
    this.#release = [];
  }
}
