/** A disk that is full, fills up, or cannot be written to. Needs the right to mount; see {@link mountTmpfs}. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { BundleReader } from "../../src/bundle/reader.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { findProblems, pull, wanted } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

/** Mounts a small file system of its own into a folder; disposing of it takes it away. */
async function mountTmpfs(folder: TempDir, options: string): Promise<{ path: string } & Disposable> {
  const path = folder.join("disk");
  await mkdir(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]);
  return { path, [Symbol.dispose]: () => void execFileSync("umount", [path]) };
}

/** Takes all the space that is left. */
function fillUp(path: string): void {
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, Buffer.alloc(64 * 1024, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  } finally {
    closeSync(file);
  }
}

async function seeded(layerBytes: number): Promise<TestRegistry> {
  const registry = await startRegistry();
  const layers = Array.from({ length: 4 }, () => layerBytes);
  seed(registry, "team/app", "1.0", await makeImage({ seed: `${layerBytes}`, layers }));
  return registry;
}

const mayMount = process.getuid?.() === 0 && process.platform === "linux";

describe.runIf(mayMount)("a small disk", () => {
  test("that cannot hold the bundle is refused before anything is fetched, with both figures", async () => {
    await using registry = await seeded(1_500_000);
    await using folder = await tempDir();
    using disk = await mountTmpfs(folder, "size=4m");
    const path = `${disk.path}/bundle.tar`;
    await expect(pull([wanted(registry, "team/app:1.0")], path)).rejects.toMatchObject({
      code: "DISK",
      message: expect.stringMatching(
        /^Cannot write bundle\.tar: it needs \S+ MiB, and .*\/disk has \S+ MiB free$/,
      ),
      details: { neededBytes: expect.any(Number), freeBytes: expect.any(Number) },
      hint: expect.stringContaining("make room"),
    });
    expect(registry.count("GET", /\/blobs\//)).toBe(0);
    expect(await readdir(disk.path)).toEqual([]);
  });

  test("that fills up on the way fails with the way out, and the next run goes on", async () => {
    await using registry = await seeded(500_000);
    await using folder = await tempDir();
    using disk = await mountTmpfs(folder, "size=4m");
    const path = `${disk.path}/bundle.tar`;
    const filler = `${disk.path}/filler`;
    let filled = false;
    const events: string[] = [];
    const pulled = pull([wanted(registry, "team/app:1.0")], path, {
      concurrency: 1,
      keepGoing: true,
      onEvent: (event) => {
        events.push(event.type);
        if (event.type !== "blob-finished" || filled) return;
        filled = true;
        fillUp(filler);
      },
    });
    await expect(pulled).rejects.toMatchObject({
      code: "DISK",
      message: expect.stringMatching(/no space left on the disk$/),
      hint: "make room, then run the same command again",
    });
    expect(events).not.toContain("image-failed");

    rmSync(filler);
    registry.resetLog();
    expect(await pull([wanted(registry, "team/app:1.0")], path)).toMatchObject({ committed: true });
    // The first layer was whole.
    expect(registry.count("GET", /\/blobs\//)).toBe(4);
    await pull([wanted(registry, "team/app:1.0")], folder.join("undisturbed.tar"));
    expect((await readFile(path)).equals(await readFile(folder.join("undisturbed.tar")))).toBe(true);
  });

  test("without room to move things takes images out all the same, or says so: what is there is right", async () => {
    await using registry = await startRegistry();
    await using folder = await tempDir();
    using disk = await mountTmpfs(folder, "size=8m");
    const path = `${disk.path}/bundle.tar`;
    const [p, q, lost] = [
      await makeImage({ seed: "p", layers: [1_000_000] }),
      await makeImage({ seed: "q", platform: "linux/arm64", layers: [1_000_000] }),
      await makeImage({ seed: "lost", platform: "linux/s390x", layers: [1000] }),
    ];
    // Without the first one, the manifests come in another order.
    seed(registry, "team/first", "1.0", makeIndex([p, q, lost]));
    seed(registry, "team/second", "1.0", makeIndex([q, p]));
    const layer = lost.layers[0]?.descriptor.digest;
    registry.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${layer}$`) } });
    const images = [wanted(registry, "team/first:1.0"), wanted(registry, "team/second:1.0")];
    expect(await pull(images, path, { keepGoing: true })).toMatchObject({ committed: true });
    await using bundle = await BundleReader.open(path);
    expect(await findProblems(bundle)).toEqual([]);
    const other = folder.join("other.tar");
    await pull(images.slice(1), other);
    expect((await readFile(path)).equals(await readFile(other))).toBe(true);
  });

  test("that is read-only says so", async () => {
    await using registry = await seeded(1000);
    await using folder = await tempDir();
    using disk = await mountTmpfs(folder, "size=4m,ro");
    await expect(pull([wanted(registry, "team/app:1.0")], `${disk.path}/bundle.tar`)).rejects.toMatchObject({
      code: "DISK",
      message: expect.stringMatching(/^Cannot write .*: the file system is read-only$/),
      hint: "make it writable, or choose another folder",
    });
  });
});
