/** Two programs that would write one bundle. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { BundleLock } from "../../src/bundle/lock.ts";
import { thisProcess } from "../../src/content/owner.ts";
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

test("the lock of a process whose id another one has by now is taken over", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const own = thisProcess();
  await writeFile(`${path}.part.lock`, JSON.stringify({ ...own, boot: "another" }));
  await (await BundleLock.take(path)).release();
  expect(await readdir(folder.path)).toEqual(own.boot === undefined ? ["bundle.tar.part.lock"] : []);
});

test("a lock that was taken away and given to somebody else stays theirs", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const first = await BundleLock.take(path);
  await rm(`${path}.part.lock`);
  const second = await BundleLock.take(path);
  await first.release();
  await expect(BundleLock.take(path)).rejects.toMatchObject({ code: "CONFLICT" });
  await second.release();
});

test("what a process that died in taking over has left is taken over as well", async () => {
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const stale = JSON.stringify({ pid, host: hostname() });
  await writeFile(`${path}.part.lock`, stale);
  const guard = `${path}.part.lock.${createHash("sha256").update(stale).digest("hex").slice(0, 16)}`;
  await writeFile(guard, JSON.stringify({ pid, host: hostname(), nonce: "other" }));
  await (await BundleLock.take(path)).release();
  expect(await readdir(folder.path)).toEqual([]);
});

/** Takes the lock of every bundle whose name comes on standard input, and never gives one back. */
const taker = `
import { createInterface } from "node:readline";
const { BundleLock } = await import(${JSON.stringify(fileURLToPath(new URL("../../src/bundle/lock.ts", import.meta.url)))});
for await (const path of createInterface({ input: process.stdin })) {
  const got = await BundleLock.take(path).then(() => "got", (error) => error.code);
  console.log(got);
}
`;

/** Answers of a process, line by line. */
async function* answersOf(child: ChildProcess): AsyncGenerator<string, void> {
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    yield* lines;
  }
}

test("of many processes that find a stale lock at the same time, exactly one gets it", async () => {
  await using folder = await tempDir();
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const children = Array.from({ length: 6 }, () =>
    spawn(process.execPath, ["--input-type=module", "-e", taker], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  const ended = children.map((child) => once(child, "close"));
  try {
    const answers = children.map(answersOf);
    for (let round = 0; round < 100; round += 1) {
      await mkdir(folder.join(`${round}`));
      const path = folder.join(`${round}`, "bundle.tar");
      await writeFile(`${path}.part.lock`, JSON.stringify({ pid, host: hostname(), round }));
      for (const child of children) child.stdin.write(`${path}\n`);
      const said = await Promise.all(answers.map(async (lines) => (await lines.next()).value));
      expect(said.filter((answer) => answer === "got")).toEqual(["got"]);
      expect(said.filter((answer) => answer === "CONFLICT")).toHaveLength(5);
      expect(await readdir(folder.join(`${round}`))).toEqual(["bundle.tar.part.lock"]);
      const { pid: owner } = JSON.parse(await readFile(`${path}.part.lock`, "utf8")) as {
        readonly pid: number;
      };
      expect(owner).toBe(children[said.indexOf("got")]?.pid);
    }
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(ended);
  }
}, 60_000);
