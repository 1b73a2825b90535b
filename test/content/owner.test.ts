/** Processes that live, and those whose id somebody else has by now. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { expect, test } from "vitest";
import { isAlive, Owner, thisProcess } from "../../src/content/owner.ts";

const hasProc = existsSync("/proc/self/stat");

test("this process lives, as it is written down too", () => {
  expect(isAlive(thisProcess())).toBe(true);
  const written: unknown = JSON.parse(JSON.stringify(thisProcess()));
  expect(Owner.parse(written)).toEqual(thisProcess());
  expect(thisProcess()).toMatchObject({ pid: process.pid, host: hostname() });
});

test("without a start time the id alone counts", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isAlive({ pid, host: hostname() })).toBe(false);
  expect(isAlive({ pid: process.ppid, host: hostname() })).toBe(true);
});

test("nobody can look at another machine, or into another container", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isAlive({ pid, host: "elsewhere", boot: "another", started: "1" })).toBe(true);
  expect(isAlive({ ...thisProcess(), pid, space: "pid:[1]" })).toBe(
    !hasProc || thisProcess().space !== undefined,
  );
});

test.skipIf(!hasProc)("an id that another process has by now is not the one that was meant", () => {
  const own = thisProcess();
  expect(Number(own.started)).toBeGreaterThan(0);
  expect(isAlive({ ...own, started: `${Number(own.started) - 1}` })).toBe(false);
});

test.skipIf(!hasProc)("nothing outlives its machine", () => {
  expect(isAlive({ ...thisProcess(), boot: "00000000-0000-0000-0000-000000000000" })).toBe(false);
});

test.skipIf(!hasProc)(
  "a process that has ended is dead, although nobody has asked for its exit code",
  async () => {
    // The shell's child ends at once, and sleep, which the shell becomes, never asks.
    const parent = spawn("sh", ["-c", "sh -c 'echo $$' & exec sleep 60"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      const [line] = (await once(parent.stdout, "data")) as [Buffer];
      const pid = Number(line.toString());
      await expect.poll(() => readFileSync(`/proc/${pid}/stat`, "utf8")).toContain(") Z ");
      expect(isAlive({ pid, host: hostname() })).toBe(false);
    } finally {
      parent.kill("SIGKILL");
      await once(parent, "close");
    }
  },
);
