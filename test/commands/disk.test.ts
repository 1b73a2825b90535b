/** A disk that fails during a run: one error that ends it, with the way out, and a second run that completes. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import { hasStrace, oneThread, tampered } from "../support/strace.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const imageCount = 6;
let folder: TempDir;
let source: TestRegistry;
let names: readonly string[];
let whole: string;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  const numbers = Array.from({ length: imageCount }, (_, index) => `${index}`);
  for (const number of numbers)
    seed(source, `team/app-${number}`, "1.0", await makeImage({ seed: number, layers: [600_000] }));
  names = numbers.map((number) => `${source.host}/team/app-${number}:1.0`);
  whole = folder.join("whole.tar");
  const pulled = await runMirror(["pull", ...names, "--to", whole]);
  expect(pulled.code, pulled.stderr).toBe(0);
});
beforeEach(() => {
  source.clearFaults();
  source.resetLog();
});

/** Whether the output has the one error that ends the run, and no image that is to blame. */
function expectOneError(stderr: string, error: RegExp): void {
  expect(stderr).toMatch(error);
  expect(stderr.match(/^Error: /gm), stderr).toHaveLength(1);
  expect(stderr).not.toMatch(/^failed |images failed/m);
}

describe.runIf(process.getuid?.() === 0 && process.platform === "linux")("a disk without room", () => {
  test.each([[[]], [["--keep-going"]]])(
    "ends a pull with one error, and the same command goes on (%j)",
    async (flags) => {
      const disk = folder.join("disk");
      await mkdir(disk, { recursive: true });
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]);
      try {
        const to = `${disk}/bundle.tar`;
        const args = ["pull", ...names, "--to", to, "--concurrency", "1", ...flags];
        const filled = new Promise<void>((resolve) => {
          source.customFault("the space vanishes", {
            path: /\/team\/app-3\/blobs\//,
            intercept: () => {
              fillUp(`${disk}/filler`);
              resolve();
              return undefined;
            },
          });
        });
        const { code, stderr } = await runMirror(args);
        await filled;
        expect(code).toBe(1);
        expectOneError(
          stderr,
          /^Error: Cannot write \S+bundle\.tar\.part\S*: no space left on the disk\n {2}hint: make room, then run the same command again$/m,
        );
        await expect(stat(to)).rejects.toThrow("ENOENT");

        source.clearFaults();
        rmSync(`${disk}/filler`);
        const again = await runMirror(args);
        expect(again.code, again.stderr).toBe(0);
        expect(again.stderr).toMatch(/reused \d+/);
        execFileSync("cmp", [to, whole]);
      } finally {
        execFileSync("umount", [disk]);
      }
    },
  );
});

describe.runIf(hasStrace)("a disk that breaks", () => {
  test.each([
    [
      "EIO",
      "the disk reports an error",
      "check the disk and its connection, then run the same command again",
    ],
    ["EROFS", "the file system is read-only", "make it writable, or choose another folder"],
    ["EDQUOT", "your disk quota is used up", "make room, then run the same command again"],
  ])("ends a pull with one error: %s", async (code, text, hint) => {
    const to = folder.join(`${code}.tar`);
    const args = ["pull", ...names, "--to", to, "--keep-going"];
    const under = tampered(`pwrite64,pwritev,pwritev2:error=${code}:when=12+`, `${to}.part`);
    const failed = await runMirror(args, { under, env: oneThread });
    expect(failed.code).toBe(1);
    expectOneError(failed.stderr, new RegExp(`^Error: Cannot write .*: ${text}\n {2}hint: ${hint}$`, "m"));
    expect((await readdir(folder.path)).filter((name) => name === `${code}.tar`)).toEqual([]);
    const again = await runMirror(args);
    expect(again.code, again.stderr).toBe(0);
    execFileSync("cmp", [to, whole]);
  });

  test("ends a push with one error, and the same command goes on", async () => {
    await using target = await startRegistry();
    const args = ["push", whole, "--registry", target.host, "--concurrency", "1"];
    const under = tampered("pread64,preadv:error=EIO:when=18+", whole);
    const { code, stderr } = await runMirror(args, { under, env: oneThread });
    expect(code).toBe(1);
    expectOneError(
      stderr,
      /^Error: Cannot read sha256:\w+ in \S+whole\.tar: the disk reports an error\n {2}hint: check the disk/m,
    );
    expect(incompleteTags(target)).toEqual([]);
    expect((await runMirror(args)).code).toBe(0);
    expect(target.repositories()).toHaveLength(imageCount);
  });

  test("ends a verify with one error", async () => {
    const under = tampered("pread64,preadv:error=EIO:when=18+", whole);
    const { code, stderr, stdout } = await runMirror(["verify", whole], { under, env: oneThread });
    expect([code, stdout]).toEqual([1, ""]);
    expectOneError(stderr, /^Error: Cannot read sha256:\w+ in \S+whole\.tar: the disk reports an error$/m);
  });

  test("ends the plan of a push with one error", async () => {
    await using target = await startRegistry();
    const under = tampered("pread64,preadv:error=EIO:when=11+", whole);
    const { code, stderr } = await runMirror(["push", whole, "--registry", target.host], {
      under,
      env: oneThread,
    });
    expect(code).toBe(1);
    expectOneError(stderr, /^Error: Cannot read .*whole\.tar: the disk reports an error$/m);
    expect(target.repositories()).toEqual([]);
  });
});

/** Takes all the space that is left. */
function fillUp(path: string): void {
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, Buffer.alloc(4096, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  } finally {
    closeSync(file);
  }
}
