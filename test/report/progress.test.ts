import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { AppError } from "../../src/errors.ts";
import { Progress, percent } from "../../src/report/progress.ts";
import { MiB, moved, started } from "./events.ts";

let clock = 0;
let progress = new Progress(() => clock);
beforeEach(() => {
  clock = 0;
  progress = new Progress(() => clock);
});

function plan(bytes: number): void {
  progress.on({ type: "planned", images: 1, blobs: 1, bytes });
}

describe("Progress", () => {
  it("adds up finished, skipped and active bytes", () => {
    plan(100);
    progress.on(started("a", 40));
    progress.on(started("b", 30));
    progress.on(moved("a", 10));
    progress.on(moved("b", 20));
    progress.on({ type: "blob-finished", key: "b", size: 30 });
    progress.on({ type: "blob-skipped", size: 15, reason: "exists" });
    expect(progress.snapshot()).toMatchObject({
      bytesDone: 55,
      bytesTotal: 100,
      active: [{ size: 40, offset: 10 }],
    });
  });

  it("does not fall back when a retry does, while the transfer itself does", () => {
    plan(100);
    progress.on(started("a", 100));
    progress.on(moved("a", 60));
    expect(progress.snapshot().bytesDone).toBe(60);
    progress.on(moved("a", 20));
    expect(progress.snapshot()).toMatchObject({ bytesDone: 60, active: [{ offset: 20 }] });
    progress.on(moved("a", 70));
    expect(progress.snapshot().bytesDone).toBe(70);
  });

  it("counts bytes that were verified and then reused once", () => {
    plan(100);
    progress.on({ type: "verified", size: 40 });
    expect(progress.snapshot().bytesDone).toBe(40);
    progress.on({ type: "blob-skipped", size: 40, reason: "reused" });
    expect(progress.snapshot().bytesDone).toBe(40);
    progress.on(started("a", 60));
    progress.on(moved("a", 10));
    expect(progress.snapshot().bytesDone).toBe(50);
  });

  it("adds to a plan that grows, and begins anew with the next one", () => {
    const grow = (bytes: number): void =>
      progress.on({ type: "planned", images: 0, blobs: 1, bytes, more: true });
    grow(40);
    progress.on(started("a", 40));
    progress.on({ type: "blob-finished", key: "a", size: 40 });
    grow(60);
    expect(progress.snapshot()).toMatchObject({ phase: "moving", bytesDone: 40, bytesTotal: 100 });
    plan(10);
    expect(progress.snapshot()).toMatchObject({ bytesDone: 0, bytesTotal: 10 });
  });

  it("gives the rate of a run that only verifies", () => {
    plan(100);
    progress.on({ type: "verified", size: 10 });
    clock = 2000;
    expect(progress.snapshot()).toMatchObject({ rate: 5, secondsLeft: 18 });
  });

  it("looks ten seconds back for the rate", () => {
    plan(1e6);
    progress.on(started("a", 1e6));
    for (clock = 100; clock <= 20_000; clock += 100) {
      // 1,000 bytes a second, and 3,000 from the tenth second on.
      progress.on(moved("a", clock <= 10_000 ? clock : 10_000 + (clock - 10_000) * 3));
    }
    clock = 20_000;
    expect(progress.snapshot().rate).toBeCloseTo(3000, -2);
    expect(progress.snapshot().secondsLeft).toBeCloseTo(320, -1);
  });

  it("does not take the place where an earlier run stopped for speed", () => {
    plan(1000 * MiB);
    progress.on(started("a", 1000 * MiB));
    progress.on(moved("a", 900 * MiB));
    clock = 2000;
    progress.on(moved("a", 920 * MiB));
    expect(progress.snapshot()).toMatchObject({ bytesDone: 920 * MiB, rate: 10 * MiB, secondsLeft: 8 });
  });

  it("does not wait for what has failed, and does again when it is tried again", () => {
    plan(100);
    progress.on(started("a", 50));
    progress.on(started("b", 50));
    clock = 1000;
    progress.on(moved("a", 10));
    progress.on({ type: "blob-failed", key: "b", error: new AppError("NETWORK", "no") });
    expect(progress.snapshot().secondsLeft).toBe(4);
    progress.on(started("b", 50));
    expect(progress.snapshot().secondsLeft).toBe(9);
  });

  it("takes no transfer for larger than it is", () => {
    plan(100);
    progress.on(started("a", 40));
    progress.on(moved("a", 45));
    expect(progress.snapshot()).toMatchObject({ bytesDone: 40, active: [{ offset: 40 }] });
  });

  it("ignores progress of transfers it does not know", () => {
    plan(100);
    progress.on(moved("x", 50));
    expect(progress.snapshot()).toMatchObject({ bytesDone: 0, active: [] });
  });

  it("never falls and never passes the total, whatever the transfers do", () => {
    const key = fc.constantFrom("a", "b", "c");
    const step = fc.oneof(
      key.map((name) => started(name, 100)),
      fc.tuple(key, fc.nat({ max: 150 })).map(([name, offset]) => moved(name, offset)),
      key.map((name) => ({ type: "blob-finished", key: name, size: 100 }) as const),
      key.map((name) => ({ type: "blob-failed", key: name, error: new AppError("NETWORK", "no") }) as const),
      fc.nat({ max: 100 }).map((size) => ({ type: "verified", size }) as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const run = new Progress(() => 0);
        run.on({ type: "planned", images: 1, blobs: 3, bytes: 300 });
        let last = 0;
        for (const event of steps) {
          run.on(event);
          const { bytesDone } = run.snapshot();
          expect(bytesDone).toBeGreaterThanOrEqual(last);
          expect(bytesDone).toBeLessThanOrEqual(300);
          last = bytesDone;
        }
      }),
    );
  });
});

describe("percent", () => {
  it("says 100 for all and for nothing less", () => {
    expect(percent(999, 1000)).toBe("99 %");
    expect(percent(1000, 1000)).toBe("100 %");
    expect(percent(0, 0)).toBe("100 %");
  });
});
