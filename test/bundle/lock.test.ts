/** Two programs that would write one bundle. */
import { spawnSync } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { expect, test } from "vitest";
import { BundleLock } from "../../src/bundle/lock.ts";
import { tempDir } from "../support/temp.ts";

test("the second one is refused with the process id of the first, until that one is done", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const first = await BundleLock.take(path);
  await expect(BundleLock.take(path)).rejects.toMatchObject({
    code: "CONFLICT",
    message: `Cannot write ${path}: process ${process.pid} on ${hostname()} is writing it`,
  });
  await first.release();
  const second = await BundleLock.take(path);
  await second.release();
  expect(await readdir(folder.path)).toEqual([]);
});

test("the lock of a process that has died is taken over, and so is a torn one", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  for (const left of [JSON.stringify({ pid, host: hostname() }), '{"pid":']) {
    await writeFile(`${path}.part.lock`, left);
    await (await BundleLock.take(path)).release();
  }
  expect(await readdir(folder.path)).toEqual([]);
});

test("the lock of another machine is kept", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  await writeFile(`${path}.part.lock`, JSON.stringify({ pid: 1, host: "elsewhere" }));
  await expect(BundleLock.take(path)).rejects.toThrow("process 1 on elsewhere is writing it");
});
