import fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs, systemClock } from "../../src/content/retry.ts";
import { AppError } from "../../src/errors.ts";
import { FakeClock, failureOf } from "../registry-client/support.ts";

test("back-off doubles to half a minute, and chance spreads it over all of that", () => {
  const most = (attempt: number): number => backoffMs(attempt, new FakeClock(1));
  expect([1, 2, 3, 4, 5, 6].map(most)).toEqual([500, 1000, 2000, 4000, 8000, 16_000]);
  expect([7, 8, 50, 5000].map(most)).toEqual([30_000, 30_000, 30_000, 30_000]);
  expect(backoffMs(5, new FakeClock(0))).toBe(0);
  expect(backoffMs(5, new FakeClock(0.5))).toBe(4000);
});

test("back-off is a whole number of milliseconds within its limits for every attempt", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -5, max: 2000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, chance) => {
        const delay = backoffMs(attempt, new FakeClock(chance));
        expect(Number.isInteger(delay)).toBe(true);
        expect(delay).toBeGreaterThanOrEqual(0);
        expect(delay).toBeLessThanOrEqual(30_000);
      },
    ),
  );
});

test("an interrupted sleep ends at once, as an interruption", async () => {
  const error = await failureOf(systemClock.sleep(3_600_000, AbortSignal.abort()));
  expect(error.code).toBe("INTERRUPTED");
  expect(error.exitCode).toBe(130);
  const reason = new AppError("INTERRUPTED", "stopped", { hint: "run it again" });
  expect(await failureOf(systemClock.sleep(3_600_000, AbortSignal.abort(reason)))).toBe(reason);
});

test("the system's clock does not go back, and its chance is in range", async () => {
  const before = systemClock.now();
  await systemClock.sleep(0);
  expect(systemClock.now()).toBeGreaterThanOrEqual(before);
  expect(systemClock.random()).toBeLessThan(1);
});
