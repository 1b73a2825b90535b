/** A registry that is gone: waited for once, and not anew by everybody who wants something of it. */
import { expect, test } from "vitest";
import type { ByteStream } from "../../src/content/content.ts";
import { resuming } from "../../src/content/verify.ts";
import { AppError } from "../../src/errors.ts";
import { startRegistry } from "../registry/registry.ts";
import { blobOf } from "../support/layers.ts";
import { connectTo, FakeClock, failureOf } from "./support.ts";

test("requests to a registry that does not come back fail at once, after one has waited", async () => {
  const registry = await startRegistry();
  await using watched = connectTo(registry);
  await watched.client.connect();
  await registry[Symbol.asyncDispose]();

  const repository = watched.repository("team/app");
  await expect(repository.resolve("1.0")).rejects.toMatchObject({ code: "NETWORK" });
  expect(watched.retries).toHaveLength(4);
  await expect(repository.resolve("2.0")).rejects.toMatchObject({ code: "NETWORK" });
  expect(watched.retries).toHaveLength(4);

  const port = Number(registry.host.split(":")[1]);
  {
    await using _revived = await startRegistry({ port });
    await expect(repository.resolve("2.0")).rejects.toMatchObject({ code: "NOT_FOUND" });
  }
  // It has answered in this run, so it may well come back: a minute is waited for it.
  const goneMs = watched.clock.now();
  await expect(repository.resolve("3.0")).rejects.toMatchObject({ code: "NETWORK" });
  expect(watched.clock.now() - goneMs).toBeGreaterThanOrEqual(60_000);
  const { length } = watched.retries;
  await expect(repository.resolve("4.0")).rejects.toMatchObject({ code: "NETWORK" });
  expect(watched.retries).toHaveLength(length);
});

test("a read whose source cannot be opened again fails: the source has been patient already", async () => {
  const { bytes, descriptor } = blobOf(Buffer.alloc(1000), "application/octet-stream");
  const clock = new FakeClock();
  const offsets: number[] = [];
  const blob = {
    descriptor,
    isManifest: false,
    open: async (offset: number) => {
      offsets.push(offset);
      if (offset > 0) throw new AppError("NETWORK", "Cannot read it: the connection was refused");
      return (async function* () {
        yield bytes.subarray(0, 100);
        throw new AppError("NETWORK", "Cannot read it: the connection broke");
      })();
    },
  };
  const read = async (): Promise<void> => {
    for await (const _ of resuming(blob, { clock })) {
      // What comes is of no interest.
    }
  };
  await expect(read()).rejects.toThrow("refused");
  expect(offsets).toEqual([0, 100]);
});

test("an upload out of the same registry does not wait for itself where one request at a time is allowed", async () => {
  await using registry = await startRegistry();
  const { bytes, descriptor } = blobOf(Buffer.alloc(10_000), "application/octet-stream");
  registry.putBlob("from", bytes);
  await using watched = connectTo(registry, { plainHttp: true });
  registry.fault("status", { status: 429, match: { method: "HEAD", path: /\/manifests\// } });
  const other = { method: "HEAD", path: "/v2/from/manifests/1", what: "look", scopes: [] } as const;
  const open = async (offset: number): Promise<ByteStream> => {
    // While the upload is under way, another request is told that we ask too much.
    await failureOf(watched.client.request({ ...other, accept: [200], retry: false }));
    expect(watched.client.pace.allowed).toBe(1);
    const signal = AbortSignal.timeout(5000);
    return await watched.repository("from").open(descriptor, { offset, signal });
  };
  expect(await watched.repository("to").push({ descriptor, isManifest: false, open })).toBe("stored");
  expect(registry.blob("to", descriptor.digest)).toEqual(bytes);
});

test("a registry that cannot be connected to is waited for once, and not anew for every image", async () => {
  await using registry = await startRegistry();
  await using watched = connectTo(registry, { plainHttp: true });
  const away = registry.fault("status", { status: 503, match: { path: /^\/v2\/$/ } });
  for (const tag of ["1", "2", "3"]) await failureOf(watched.repository("a").resolve(tag));
  expect(registry.count("GET", /^\/v2\/$/)).toBe(5 + 1 + 1);
  away.remove();
  expect((await failureOf(watched.repository("a").resolve("4"))).code).toBe("NOT_FOUND");
});
