import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createReporter, type Reporter } from "../../src/report/reporter.ts";
import { failed, finished, MiB, moved, started, totals } from "./events.ts";
import { FakeTerminal } from "./fake-terminal.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const utf8 = { TERM: "xterm-256color", LANG: "C.UTF-8" };

function live(columns: number, options: { rows?: number; env?: Record<string, string> } = {}) {
  const terminal = new FakeTerminal(columns, options.rows);
  const env = options.env ?? utf8;
  const reporter = createReporter({
    mode: "auto",
    stream: terminal,
    env,
    now: () => Date.now(),
    verb: "pull",
  });
  return { terminal, reporter, screen: terminal.screen };
}

/** Two seconds of a pull of two blobs. */
function twoBlobs(reporter: Reporter): void {
  reporter.on({ type: "planned", images: 40, blobs: 2, bytes: 2048 * MiB });
  reporter.on(started("aa", 1024 * MiB));
  reporter.on(started("bb", 64 * MiB));
  vi.advanceTimersByTime(1000);
  reporter.on(moved("aa", 512 * MiB));
  vi.advanceTimersByTime(1000);
}

describe("live view", () => {
  it("shows how far resolving is", () => {
    const { reporter, screen } = live(60);
    reporter.on({ type: "resolving", images: 400 });
    reporter.on({ type: "resolved", image: "a", done: 12, images: 400 });
    vi.advanceTimersByTime(100);
    expect(screen.lines).toEqual(["resolving 12 of 400 images"]);
    reporter[Symbol.dispose]();
  });

  it("takes one line for the total on 200 columns", () => {
    const { reporter, screen } = live(200);
    twoBlobs(reporter);
    const total = `pulling ${"█".repeat(10)}${"░".repeat(30)}  25 %  512.0 MiB of 2.0 GiB  256.0 MiB/s  6 s left  0 of 40 images`;
    expect(screen.lines).toEqual([
      total,
      `  sha256:aa0000000000 ${"█".repeat(12)}${"░".repeat(12)}  512.0 MiB of 1.0 GiB`,
      `  sha256:bb0000000000 ${"░".repeat(24)}  0 B of 64.0 MiB`,
    ]);
    expect(screen.wraps).toBe(0);
    reporter[Symbol.dispose]();
  });

  it("takes two lines for the total on 60 columns", () => {
    const { reporter, screen } = live(60);
    twoBlobs(reporter);
    expect(screen.lines).toEqual([
      "pulling ████░░░░░░░░░░░░░░░  25 %  512.0 MiB of 2.0 GiB",
      "        256.0 MiB/s  6 s left  0 of 40 images",
      "  sha256:aa0000000000 █████░░░░░░  512.0 MiB of 1.0 GiB",
      "  sha256:bb0000000000 ░░░░░░░░░░░  0 B of 64.0 MiB",
    ]);
    expect(screen.wraps).toBe(0);
    reporter[Symbol.dispose]();
  });

  it.each([1, 2, 12, 30, 59, 60, 80, 119, 120, 121, 200, 400])("never wraps on %d columns", (columns) => {
    const { reporter, screen, terminal } = live(columns);
    reporter.on({ type: "resolving", images: 10_000 });
    vi.advanceTimersByTime(100);
    reporter.on({ type: "planned", images: 10_000, blobs: 90_000, bytes: 1023.9 * 1024 * MiB });
    for (let blob = 0; blob < 20; blob += 1) reporter.on(started(`${blob}`, 1023.9 * 1024 * MiB));
    vi.advanceTimersByTime(5000);
    reporter.on(moved("0", 1023.9 * MiB));
    vi.advanceTimersByTime(100);
    expect(terminal.writes.length).toBeGreaterThanOrEqual(2);
    expect(screen.wraps).toBe(0);
    expect(Math.max(...screen.lines.map((line) => line.length))).toBeLessThan(Math.max(columns, 2));
    reporter[Symbol.dispose]();
  });

  it("lets lines that stay scroll above the block", () => {
    const { reporter, screen } = live(60, { rows: 6 });
    reporter.on({ type: "planned", images: 12, blobs: 1, bytes: 100 });
    reporter.on(started("aa", 100));
    for (let image = 1; image <= 10; image += 1) {
      reporter.on(finished(`r.io/image:${image}`));
      vi.advanceTimersByTime(100);
    }
    reporter.on(failed("r.io/image:11", `Cannot read it: ${"a long story ".repeat(8)}end`, "ask somebody"));
    reporter.on({ type: "warning", message: "mind the gap" });
    reporter.on({ type: "warning", message: "mind the gap" });
    vi.advanceTimersByTime(100);
    const lines = screen.lines;
    expect(lines.slice(0, 10)).toEqual(
      Array.from({ length: 10 }, (_, index) => `pulled r.io/image:${index + 1} sha256:e3b0c44298fc`),
    );
    const story = lines.slice(10, -5).join(" ").replace(/\s+/g, " ");
    expect(story).toMatch(/^failed r\.io\/image:11: Cannot read it: a long story .* end$/);
    expect(lines.slice(-5)).toEqual([
      "  hint: ask somebody",
      "warning: mind the gap",
      "pulling ░░░░░░░░░░░░░░░░░░░   0 %  0 B of 100 B",
      "        0 B/s  10 of 12 images  1 failed",
      "  sha256:aa0000000000 ░░░░░░░░░░░  0 B of 100 B",
    ]);
    reporter[Symbol.dispose]();
  });

  it("leaves the digest of a finished image out where it does not fit", () => {
    const { reporter, screen } = live(40);
    reporter.on(finished("registry.internal:5000/image:1"));
    vi.advanceTimersByTime(100);
    expect(screen.lines).toEqual(["pulled registry.internal:5000/image:1"]);
    reporter[Symbol.dispose]();
  });

  it("shows the oldest eight transfers at most, fewer on a low terminal, and says so", () => {
    for (const [rows, shown] of [
      [24, 7],
      [8, 3],
      [3, 0],
    ] as const) {
      const { reporter, screen } = live(60, { rows });
      reporter.on({ type: "planned", images: 1, blobs: 20, bytes: 2000 });
      for (let blob = 0; blob < 20; blob += 1) reporter.on(started(String.fromCharCode(97 + blob), 100));
      vi.advanceTimersByTime(500);
      const names = screen.lines.flatMap((line) => /sha256:([a-z])/.exec(line)?.[1] ?? []);
      expect(names.join("")).toBe("abcdefg".slice(0, shown));
      expect(screen.lines.filter((line) => line.includes(" more"))).toEqual(
        shown === 0 ? [] : [`  and ${20 - shown} more`],
      );
      expect(screen.cursor.row).toBeLessThan(rows);
      reporter[Symbol.dispose]();
    }
  });

  it("takes rows away when transfers end", () => {
    const { reporter, screen } = live(60);
    twoBlobs(reporter);
    reporter.on({ type: "blob-finished", key: "aa", size: 1024 * MiB });
    vi.advanceTimersByTime(100);
    expect(screen.lines).toHaveLength(3);
    expect(screen.lines[2]).toBe("  sha256:bb0000000000 ░░░░░░░░░░░  0 B of 64.0 MiB");
    expect(screen.cursor).toEqual({ row: 3, column: 0 });
    reporter[Symbol.dispose]();
  });

  it("writes a frame at once, ten a second at most, and none when nothing changed", () => {
    const { reporter, terminal } = live(80);
    reporter.on({ type: "planned", images: 1, blobs: 1, bytes: 10_000 });
    reporter.on(started("a", 10_000));
    for (let step = 1; step <= 1000; step += 1) {
      reporter.on(moved("a", step));
      vi.advanceTimersByTime(1);
    }
    expect(terminal.writes.length).toBeGreaterThan(5);
    expect(terminal.writes.length).toBeLessThanOrEqual(10);
    for (const write of terminal.writes) {
      expect(write.startsWith("\x1b[?2026h")).toBe(true);
      expect(write.indexOf("\x1b[?2026l")).toBe(write.length - "\x1b[?2026l".length);
    }
    vi.advanceTimersByTime(20_000);
    const still = terminal.writes.length;
    vi.advanceTimersByTime(5000);
    expect(terminal.writes).toHaveLength(still);
    reporter[Symbol.dispose]();
  });

  it("skips frames for a terminal that does not keep up, and loses no line", () => {
    const { reporter, terminal, screen } = live(80);
    terminal.writableNeedDrain = true;
    reporter.on(finished("r.io/a:1"));
    vi.advanceTimersByTime(1000);
    expect(terminal.writes).toEqual([]);
    terminal.writableNeedDrain = false;
    vi.advanceTimersByTime(100);
    expect(screen.lines).toEqual(["pulled r.io/a:1 sha256:e3b0c44298fc"]);
    reporter[Symbol.dispose]();
  });

  it("leaves nothing behind when the terminal becomes narrower", () => {
    const { reporter, screen } = live(200);
    reporter.on(finished("r.io/a:1"));
    twoBlobs(reporter);
    screen.narrow(60);
    reporter.on(moved("bb", 32 * MiB));
    vi.advanceTimersByTime(100);
    expect(screen.lines).toEqual([
      "pulled r.io/a:1 sha256:e3b0c44298fc",
      expect.stringMatching(/^pulling █+░+ {2}26 % {2}544\.0 MiB of 2\.0 GiB$/),
      expect.stringMatching(/ left {2}1 of 40 images$/),
      "  sha256:aa0000000000 █████░░░░░░  512.0 MiB of 1.0 GiB",
      "  sha256:bb0000000000 █████░░░░░░  32.0 MiB of 64.0 MiB",
    ]);
    reporter[Symbol.dispose]();
  });

  it("puts the summary in the place of the block", () => {
    const { reporter, screen } = live(80);
    twoBlobs(reporter);
    reporter.on(finished("r.io/a:1"));
    reporter.finish(
      totals({ images: 1, blobs: 2, bytesMoved: 2 * MiB, seconds: 2 }),
      "pulled 1 image into a.tar",
    );
    const expected = [
      "pulled r.io/a:1 sha256:e3b0c44298fc",
      "pulled 1 image into a.tar",
      "  2 blobs moved (2.0 MiB) in 2 s, 1.0 MiB/s",
    ];
    expect(screen.lines).toEqual(expected);
    expect(screen.cursor).toEqual({ row: 3, column: 0 });
    reporter[Symbol.dispose]();
    vi.advanceTimersByTime(1000);
    expect(screen.lines).toEqual(expected);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("takes the block away and keeps the pending lines when it is disposed of", () => {
    const { reporter, screen } = live(80);
    twoBlobs(reporter);
    reporter.on(failed("r.io/a:1", "no"));
    reporter[Symbol.dispose]();
    expect(screen.lines).toEqual(["failed r.io/a:1: no"]);
    expect(screen.cursor).toEqual({ row: 1, column: 0 });
    reporter.on({ type: "warning", message: "late" });
    expect(screen.lines).toEqual(["failed r.io/a:1: no", "warning: late"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("writes nothing at all if nothing happened", () => {
    const { reporter, terminal } = live(80);
    vi.advanceTimersByTime(1000);
    reporter[Symbol.dispose]();
    expect(terminal.writes).toEqual([]);
  });

  it("colours words, and none of them under NO_COLOR", () => {
    const output = (env: Record<string, string>): string => {
      const { reporter, terminal } = live(80, { env });
      twoBlobs(reporter);
      reporter.on(failed("r.io/a:1", "no"));
      reporter.finish(totals({ images: 1, failedImages: 1 }), "");
      return terminal.output;
    };
    expect(output(utf8)).toContain("\x1b[31mfailed\x1b[39m r.io/a:1: no");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escapes are what it looks for
    expect(output({ ...utf8, NO_COLOR: "1" })).not.toMatch(/\x1b\[[0-9;]*m/);
    expect(output({ ...utf8, NO_COLOR: "1" })).toContain("failed r.io/a:1: no");
  });

  it.each([
    [{ LANG: "C" }, "####---------------"],
    [{ LANG: "en_US.UTF-8", LC_ALL: "POSIX" }, "####---------------"],
    [{ LC_CTYPE: "en_US.utf8" }, "████░░░░░░░░░░░░░░░"],
    [{ WT_SESSION: "1" }, "████░░░░░░░░░░░░░░░"],
  ])("draws the bars that %o can show", (env: Record<string, string>, bar) => {
    const { reporter, screen } = live(60, { env });
    twoBlobs(reporter);
    expect(screen.lines[0]).toBe(`pulling ${bar}  25 %  512.0 MiB of 2.0 GiB`);
    reporter[Symbol.dispose]();
  });

  it("lets no escape of a server reach the terminal", () => {
    const { reporter, screen } = live(80);
    reporter.on({ type: "planned", images: 1, blobs: 1, bytes: 10 });
    reporter.on({ type: "blob-started", key: "a", name: "\x1b[2Jx", size: 10 });
    reporter.on(failed("r.io/\x1b]0;t\x07", "it says \x1b[?25l"));
    vi.advanceTimersByTime(100);
    expect(screen.lines[0]).toBe("failed r.io/\\x1B]0;t\\x07: it says \\x1B[?25l");
    expect(screen.lines.at(-1)).toContain("  \\x1B[2Jx ");
    reporter[Symbol.dispose]();
  });
});
