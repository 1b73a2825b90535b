import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { connectTo, descriptorOf, logged } from "./support.ts";

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

test("a request with content is begun when its first bytes are there", async () => {
  await using registry = await startRegistry();
  const watched = connectTo(registry, { plainHttp: true });
  const bytes = randomBytesOf("waiting", 100_000);
  const first = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const pushing = watched.repository("a").push({
    descriptor: descriptorOf(bytes),
    isManifest: false,
    waits: true,
    open: async () => {
      asked.resolve();
      await first.promise;
      return once(bytes);
    },
  });
  await asked.promise;
  for (let turn = 0; turn < 50; turn += 1) await setImmediate();
  expect(registry.requests.filter(({ method }) => method === "PATCH" || method === "PUT")).toEqual([]);
  first.resolve();
  expect(await pushing).toBe("stored");
  expect(
    logged(registry, "PUT", /uploads/).length + logged(registry, "PATCH", /uploads/).length,
  ).toBeGreaterThan(0);
  await watched.client.close();
});
