/** A line that breaks every connection after some bytes, in front of a registry that cannot go on after a cut. */
import { expect, test } from "vitest";
import { startRelay } from "../interop/support/relay.ts";
import { startRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { blobSource, connectTo, descriptorOf } from "./support.ts";

test("a blob larger than any connection lives gets through in chunks over connections of their own", async () => {
  const bytes = randomBytesOf("brittle", 30_000_000);
  const { digest } = descriptorOf(bytes);
  await using registry = await startRegistry();
  const lives = randomBytesOf("lives", 500);
  let at = 0;
  await using relay = await startRelay({
    port: Number(registry.host.split(":")[1]),
    // More than a chunk of a megabyte, and much less than the blob.
    breakAfter: () => 1_300_000 + ((lives[at++ % lives.length] ?? 0) / 255) * 12_000_000,
  });
  await using watched = connectTo(relay.host, { plainHttp: true });
  const repository = watched.repository("a");
  expect(await repository.push(blobSource(bytes))).toBe("stored");
  expect(registry.blob("a", digest)).toEqual(bytes);
  expect(relay.broken).toBeGreaterThanOrEqual(3);
  expect(registry.openUploads).toBeLessThanOrEqual(relay.broken);
  expect(watched.warnings).toEqual([expect.stringContaining("many small chunks")]);

  // What was learned counts for the next blob: it is not cut once more.
  const before = relay.broken;
  const next = randomBytesOf("brittle too", 5_000_000);
  expect(await repository.push(blobSource(next))).toBe("stored");
  expect(relay.broken).toBe(before);
});
