/** A registry that is gone: waited for once, and not anew by everybody who wants something of it. */
import { expect, test } from "vitest";
import { resuming } from "../../src/content/verify.ts";
import { AppError } from "../../src/errors.ts";
import { startRegistry } from "../registry/registry.ts";
import { blobOf } from "../support/layers.ts";
import { connectTo, FakeClock } from "./support.ts";

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
