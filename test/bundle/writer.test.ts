import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { journalPath, partPath } from "../../src/bundle/part-place.ts";
import { BundleReader } from "../../src/bundle/reader.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed, type TestIndex } from "../support/images.ts";
import { pull, type Run, wanted } from "../support/pipeline.ts";
import { tempDir } from "../support/temp.ts";

const layerBytes = 40_000;
const layers = 6;
let content: TestIndex;

beforeAll(async () => {
  const sizes = Array.from({ length: layers }, () => layerBytes);
  content = makeIndex([await makeImage({ seed: "a", layers: sizes })]);
});

async function seeded(): Promise<TestRegistry> {
  const registry = await startRegistry();
  seed(registry, "team/app", "1.0", content);
  return registry;
}

const sha256 = async (path: string): Promise<string> =>
  createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
const exists = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );
const blobGets = (registry: TestRegistry): readonly string[] =>
  registry.requests
    .filter(({ method, path }) => method === "GET" && path.includes("/blobs/"))
    .map(({ path }) => path);
const reused = ({ events }: Run): number =>
  events.filter((event) => event.type === "blob-skipped" && event.reason === "reused").length;

/** Pulls one blob at a time and stops after so many. */
async function interrupted(registry: TestRegistry, path: string, after: number): Promise<void> {
  const controller = new AbortController();
  let finished = 0;
  const run = pull([wanted(registry, "team/app:1.0")], path, {
    concurrency: 1,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type !== "blob-finished") return;
      finished += 1;
      if (finished === after) controller.abort(new Error("Ctrl-C"));
    },
  });
  await expect(run).rejects.toThrow("Ctrl-C");
}

/** The digest of what an undisturbed pull writes. */
async function undisturbed(registry: TestRegistry): Promise<string> {
  await using folder = await tempDir();
  await pull([wanted(registry, "team/app:1.0")], folder.join("bundle.tar"));
  return await sha256(folder.join("bundle.tar"));
}

describe("a pull that was interrupted", () => {
  test("goes on where it stopped: whole blobs are not fetched again, and the bytes are the same", async () => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    await interrupted(registry, path, 4);
    expect(await exists(path)).toBe(false);
    const before = new Set(blobGets(registry));
    registry.resetLog();

    const run = await pull([wanted(registry, "team/app:1.0")], path);
    expect(reused(run)).toBeGreaterThanOrEqual(4);
    const again = blobGets(registry).filter((blob) => before.has(blob));
    // At most the one that was under way when it stopped.
    expect(again.length).toBeLessThanOrEqual(1);
    expect(blobGets(registry)).toHaveLength(layers + 1 - reused(run));
    expect(await sha256(path)).toBe(await undisturbed(registry));
    expect(await exists(partPath(path))).toBe(false);
    expect(await exists(journalPath(path))).toBe(false);
  });

  test("fetches again what has changed on the disk, whatever the journal says", async () => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    await interrupted(registry, path, 4);
    const claimed = (await readFile(journalPath(path), "utf8")).match(/sha256:[0-9a-f]{64}/g) ?? [];
    const part = await readFile(partPath(path));
    const damaged = claimed.at(-1) ?? "";
    const layer = content.children.flatMap((image) => (image.kind === "image" ? image.layers : []));
    const bytes = layer.find(({ descriptor }) => descriptor.digest === damaged)?.bytes ?? Buffer.alloc(1);
    const at = part.indexOf(bytes);
    expect(at).toBeGreaterThan(0);
    part.writeUInt8(part.readUInt8(at + 100) ^ 4, at + 100);
    await writeFile(partPath(path), part);
    registry.resetLog();

    await pull([wanted(registry, "team/app:1.0")], path);
    expect(blobGets(registry).filter((blob) => blob.endsWith(damaged))).toHaveLength(1);
    expect(await sha256(path)).toBe(await undisturbed(registry));
  });

  const journals: readonly (readonly [string, (text: string) => string, number])[] = [
    ["with a torn last line", (text) => text.slice(0, -30), 3],
    ["with lines that are none", (text) => `${text}{"whole":7}\nnull\n\u0000\u0001`, 4],
    ["that lies line by line", (text) => `${text}${claims()}`, 0],
    ["of a later version", (text) => text.replace(/^.*\n/, line({ journal: 3 })), 0],
    ["whose first line is flipped", (text) => text.replace("journal", "journam"), 4],
    ["of another format", () => '{"version":1,"layout":"sha256:00"}\n', 0],
    ["that is empty", () => "", 0],
  ];
  function line(content: object): string {
    const json = JSON.stringify(content);
    return `${json} ${crc32(json).toString(16).padStart(8, "0")}\n`;
  }
  function claims(): string {
    const blobs = content.children.flatMap((image) => (image.kind === "image" ? image.layers : []));
    return blobs
      .map(({ descriptor }, index) =>
        line({ whole: { of: descriptor.digest, at: 4096 * index, got: descriptor.size } }),
      )
      .join("");
  }

  test.each(journals)("does no harm by a journal %s", async (_, change, atLeast) => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    await interrupted(registry, path, 4);
    await writeFile(journalPath(path), change(await readFile(journalPath(path), "utf8")));

    const run = await pull([wanted(registry, "team/app:1.0")], path);
    if (atLeast === 0) expect(reused(run)).toBe(0);
    else expect(reused(run)).toBeGreaterThanOrEqual(atLeast);
    expect(await sha256(path)).toBe(await undisturbed(registry));
  });

  test.each([
    ["cut", async (part: string) => await truncate(part, 100_000)],
    ["made longer", async (part: string) => await appendFile(part, "more")],
  ] as const)("keeps what is right in a part that was %s", async (_, change) => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    await interrupted(registry, path, 4);
    await change(partPath(path));
    const run = await pull([wanted(registry, "team/app:1.0")], path);
    expect(reused(run)).toBeGreaterThan(0);
    expect(await sha256(path)).toBe(await undisturbed(registry));
  });

  test("starts anew if the tag has moved", async () => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    await interrupted(registry, path, 4);
    seed(registry, "team/app", "1.0", await makeImage({ seed: "another", layers: [layerBytes] }));
    await pull([wanted(registry, "team/app:1.0")], path);
    expect(await sha256(path)).toBe(await undisturbed(registry));
  });

  test("leaves nothing behind if nothing had come", async () => {
    await using registry = await seeded();
    await using folder = await tempDir();
    const path = folder.join("bundle.tar");
    registry.fault("status", { status: 404, match: { path: /\/blobs\// } });
    const { outcomes, committed } = await pull([wanted(registry, "team/app:1.0")], path);
    expect([outcomes[0]?.error?.code, committed]).toEqual(["NOT_FOUND", false]);
    expect(await exists(path)).toBe(false);
  });
});

test("a blob whose connection breaks in the middle is fetched from there on", async () => {
  await using registry = await seeded();
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  const whole = await undisturbed(registry);
  registry.resetLog();
  registry.fault("drop-body-after", { bytes: 15_000, times: 3 });
  await pull([wanted(registry, "team/app:1.0")], path);
  const ranges = registry.requests.flatMap(({ headers }) => headers.range ?? []);
  expect(ranges).toHaveLength(3);
  expect(ranges.every((range) => /^bytes=[1-9]\d*-\d+$/.test(range))).toBe(true);
  expect(await sha256(path)).toBe(whole);
});

test("a bundle of the same name is replaced only when the new one is whole", async () => {
  await using registry = await seeded();
  await using folder = await tempDir();
  const path = folder.join("bundle.tar");
  await writeFile(path, "yesterday's");
  await interrupted(registry, path, 3);
  expect(await readFile(path, "utf8")).toBe("yesterday's");
  await pull([wanted(registry, "team/app:1.0")], path);
  await using bundle = await BundleReader.open(path);
  expect(bundle.images).toHaveLength(1);
});

describe("a place that cannot be written to", () => {
  test("is a folder, or in none", async () => {
    await using registry = await seeded();
    await using folder = await tempDir();
    await mkdir(folder.join("folder"));
    await writeFile(folder.join("file"), "");
    const to = async (path: string): Promise<unknown> =>
      await pull([wanted(registry, "team/app:1.0")], folder.join(path)).catch((error: unknown) => error);
    expect(await to("folder")).toMatchObject({
      code: "DISK",
      message: expect.stringMatching(/^Cannot write .*folder: it is a folder$/),
      hint: expect.stringMatching(/folder\/bundle\.tar$/),
    });
    expect(await to("none/bundle.tar")).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/^Cannot write .*: there is no folder .*none$/),
      hint: expect.stringContaining("mkdir -p"),
    });
    expect(await to("file/bundle.tar")).toMatchObject({
      code: "DISK",
      message: expect.stringMatching(/: .*file is not a folder$/),
    });
    expect(blobGets(registry)).toEqual([]);
  });
});
