/** Waiting between two tries, and what ends it before its time. */
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Clock } from "../../src/content/retry.ts";
import { Pace } from "../../src/registry/pace.ts";

/** A clock whose sleeps end with their signal only. */
const clock: Clock = {
  now: () => 0,
  random: () => 0,
  sleep: async (_ms, signal) =>
    await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error))),
};

test("who waits for a registry that is away goes on once anybody is answered", async () => {
  const pace = new Pace(8, clock);
  const { signal } = new AbortController();
  const resting = [pace.rest(30_000, signal, true), pace.rest(30_000, signal, true)];
  let over = false;
  const single = pace.rest(30_000, signal, false).then(() => {
    over = true;
  });
  single.catch(() => undefined);
  (await pace.enter()).failed();
  (await pace.enter()).done();
  await Promise.all(resting);
  await setImmediate();
  // The failure of one request among others that are answered passes no sooner.
  expect(over).toBe(false);
});

test("it ends with the signal, for its reason", async () => {
  const controller = new AbortController();
  const resting = new Pace(8, clock).rest(30_000, controller.signal, true);
  controller.abort(new Error("enough"));
  await expect(resting).rejects.toThrow("enough");
});
