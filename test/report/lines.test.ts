import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AppError } from "../../src/errors.ts";
import { createReporter, type Reporter } from "../../src/report/reporter.ts";
import type { TransferEvent } from "../../src/sync/events.ts";
import { failed, finished, MiB, moved, started, totals } from "./events.ts";
import { FakeTerminal } from "./fake-terminal.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function plain(mode: "auto" | "plain" | "quiet" = "plain"): { terminal: FakeTerminal; reporter: Reporter } {
  const terminal = new FakeTerminal(80, 24, false);
  const reporter = createReporter({ mode, stream: terminal, env: {}, now: () => Date.now(), verb: "pull" });
  return { terminal, reporter };
}

const retry: TransferEvent = {
  type: "retrying",
  what: "GET sha256:abc",
  attempt: 2,
  delayMs: 1500,
  cause: new AppError("NETWORK", "the line\x07 broke"),
};

describe("plain lines", () => {
  it("gives finished and failed images, retries and warnings a line each, at once", () => {
    const { terminal, reporter } = plain();
    reporter.on(finished("docker.io/library/nginx:1.27"));
    reporter.on(finished("docker.io/library/redis:8", true));
    reporter.on(failed("ghcr.io/a/b:1", "Cannot resolve it: \x1b[31mno", "log in"));
    reporter.on(failed("ghcr.io/a/c:1", "ghcr.io/a/c:1: not there"));
    reporter.on(retry);
    reporter.on({ type: "warning", message: "plain HTTP", hint: "use TLS" });
    expect(terminal.output.split("\n")).toEqual([
      "pulled docker.io/library/nginx:1.27 sha256:e3b0c44298fc",
      "unchanged docker.io/library/redis:8 sha256:e3b0c44298fc",
      "failed ghcr.io/a/b:1: Cannot resolve it: \\x1B[31mno",
      "  hint: log in",
      "failed ghcr.io/a/c:1: not there",
      "retrying GET sha256:abc in 1.5 s (attempt 2): the line\\x07 broke",
      "warning: plain HTTP",
      "  hint: use TLS",
      "",
    ]);
    reporter[Symbol.dispose]();
  });

  it("shows the same warning once", () => {
    const { terminal, reporter } = plain();
    for (const message of ["one", "two", "one", "one"]) reporter.on({ type: "warning", message });
    expect(terminal.output).toBe("warning: one\nwarning: two\n");
    reporter[Symbol.dispose]();
  });

  it("does not remember warnings without end", () => {
    const { terminal, reporter } = plain();
    for (let count = 0; count <= 1000; count += 1) reporter.on({ type: "warning", message: `${count}` });
    terminal.writes.length = 0;
    for (const message of ["1000", "1", "0"]) reporter.on({ type: "warning", message });
    expect(terminal.output).toBe("warning: 0\n");
    reporter[Symbol.dispose]();
  });

  it("tells where it stands every five seconds and not more often", () => {
    const { terminal, reporter } = plain();
    vi.advanceTimersByTime(5000);
    expect(terminal.writes).toEqual([]);
    reporter.on({ type: "resolving", images: 40 });
    reporter.on({ type: "resolved", image: "a", done: 12, images: 40 });
    vi.advanceTimersByTime(5000);
    expect(terminal.writes.splice(0)).toEqual(["resolving 12 of 40 images\n"]);
    reporter.on({ type: "planned", images: 40, blobs: 90, bytes: 2048 * MiB });
    reporter.on(started("a", 1024 * MiB));
    reporter.on(started("b", 1024 * MiB));
    for (let second = 1; second <= 4; second += 1) {
      vi.advanceTimersByTime(1000);
      reporter.on(moved("a", second * 100 * MiB));
    }
    expect(terminal.writes).toEqual([]);
    reporter.on(finished("x"));
    vi.advanceTimersByTime(1000);
    expect(terminal.writes.at(-1)).toBe(
      "pulling 400.0 MiB of 2.0 GiB (19 %), 80.0 MiB/s, 21 s left, 1 of 40 images, 2 active\n",
    );
    reporter[Symbol.dispose]();
  });

  it("shows a stall as a rate of zero, without an estimate", () => {
    const { terminal, reporter } = plain();
    reporter.on({ type: "planned", images: 1, blobs: 1, bytes: 100 * MiB });
    reporter.on(started("a", 100 * MiB));
    vi.advanceTimersByTime(1000);
    reporter.on(moved("a", 50 * MiB));
    vi.advanceTimersByTime(19_000);
    expect(terminal.writes.at(-1)).toBe(
      "pulling 50.0 MiB of 100.0 MiB (50 %), 0 B/s, 0 of 1 image, 1 active\n",
    );
    reporter[Symbol.dispose]();
  });

  it("ends with the summary, and with no timer", () => {
    const { terminal, reporter } = plain();
    reporter.on({ type: "resolving", images: 1 });
    reporter.finish(
      totals({ images: 1, blobs: 1, bytesMoved: MiB, seconds: 1 }),
      "pulled 1 image into a.tar",
    );
    expect(terminal.output).toBe("pulled 1 image into a.tar\n  1 blob moved (1.0 MiB) in 1 s, 1.0 MiB/s\n");
    expect(vi.getTimerCount()).toBe(0);
    reporter[Symbol.dispose]();
    expect(terminal.writes).toHaveLength(1);
  });

  it("writes no escapes, on a terminal neither", () => {
    const terminal = new FakeTerminal();
    const reporter = createReporter({ mode: "plain", stream: terminal, env: {}, verb: "pull" });
    reporter.on(finished("a"));
    reporter.on(failed("b", "no"));
    reporter.finish(totals({ images: 2, failedImages: 1 }), "");
    expect(terminal.output).not.toContain("\x1b");
    expect(terminal.output).toContain("pulled 1 of 2 images (1 failed)");
  });
});

describe("quiet", () => {
  it("shows warnings and failures only", () => {
    const { terminal, reporter } = plain("quiet");
    reporter.on({ type: "resolving", images: 2 });
    reporter.on(finished("a"));
    reporter.on(retry);
    reporter.on({ type: "warning", message: "old" });
    reporter.on(failed("b", "no"));
    vi.advanceTimersByTime(60_000);
    reporter.finish(totals({ images: 2, failedImages: 1 }), "");
    expect(terminal.output).toBe("warning: old\nfailed b: no\n");
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("the choice of the view", () => {
  const isLive = (mode: "auto" | "plain" | "quiet", env: Record<string, string>, isTTY = true): boolean => {
    const terminal = new FakeTerminal(80, 24, isTTY);
    using reporter = createReporter({ mode, stream: terminal, env, verb: "pull" });
    reporter.on({ type: "resolving", images: 2 });
    vi.advanceTimersByTime(1000);
    return terminal.output.includes("\x1b");
  };

  it("never keeps the process alive", () => {
    vi.useRealTimers();
    const before = process.getActiveResourcesInfo();
    for (const isTTY of [true, false]) {
      const stream = new FakeTerminal(80, 24, isTTY);
      using reporter = createReporter({ mode: "auto", stream, env: {}, verb: "pull" });
      reporter.on({ type: "resolving", images: 2 });
      expect(process.getActiveResourcesInfo()).toEqual(before);
    }
  });

  it("takes bars for a terminal that can show them, and lines for all else", () => {
    expect(isLive("auto", { TERM: "xterm" })).toBe(true);
    expect(isLive("auto", {})).toBe(true);
    expect(isLive("auto", { CI: "false" })).toBe(true);
    expect(isLive("auto", { CI: "true" })).toBe(false);
    expect(isLive("auto", { TERM: "dumb" })).toBe(false);
    expect(isLive("auto", { TERM: "xterm" }, false)).toBe(false);
    expect(isLive("plain", { TERM: "xterm" })).toBe(false);
    expect(isLive("quiet", { TERM: "xterm" })).toBe(false);
  });
});
