/** What a pull takes up of earlier ones: half blobs, the part of another plan, earlier bundles. */
import { readFile, truncate, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { journalPath, partPath } from "../../src/bundle/part-place.ts";
import { BundleReader } from "../../src/bundle/reader.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { findProblems, pull, type Run, type WantedImage, wanted } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const megabyte = 1_000_000;
const sizes = [4 * megabyte, 2 * megabyte, 300_000, 5000];
let app: TestImage;
let tools: TestIndex;

beforeAll(async () => {
  app = await makeImage({ seed: "resume", layers: sizes });
  tools = makeIndex([
    await makeImage({ seed: "tools", layers: [megabyte, 700_000] }),
    await makeImage({ seed: "tools arm", platform: "linux/arm64", layers: [900_000] }),
  ]);
});

interface Lab extends AsyncDisposable {
  readonly registry: TestRegistry;
  readonly folder: TempDir;
  readonly path: string;
  readonly images: readonly WantedImage[];
}

async function lab(): Promise<Lab> {
  const registry = await startRegistry();
  const folder = await tempDir();
  seed(registry, "team/app", "1.0", app);
  seed(registry, "team/tools", "1.0", tools);
  return {
    registry,
    folder,
    path: folder.join("bundle.tar"),
    images: [wanted(registry, "team/app:1.0"), wanted(registry, "team/tools:1.0")],
    [Symbol.asyncDispose]: async () => {
      await registry[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Pulls one blob at a time, and stops when so many bytes have come. */
async function interrupted({ path, images }: Lab, bytes: number): Promise<void> {
  const controller = new AbortController();
  let finished = 0;
  const run = pull(images, path, {
    concurrency: 1,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === "blob-finished" || event.type === "blob-skipped") finished += event.size;
      const now = event.type === "blob-progress" ? event.offset : 0;
      if (finished + now >= bytes) controller.abort(new Error("Ctrl-C"));
    },
  });
  await expect(run).rejects.toThrow("Ctrl-C");
}

/** Bytes of blobs that the registry has sent. */
function sent(registry: TestRegistry): number {
  return registry.requests
    .filter(({ method, path }) => method === "GET" && path.includes("/blobs/"))
    .reduce((sum, { bytesOut }) => sum + bytesOut, 0);
}

const blobBytes = (images: readonly TestImage[]): number =>
  images.reduce(
    (sum, { config, layers }) =>
      sum + layers.reduce((total, { bytes }) => total + bytes.length, config.bytes.length),
    0,
  );
const everything = (): readonly TestImage[] => [
  app,
  ...tools.children.flatMap((child) => (child.kind === "image" ? [child] : [])),
];
const total = (): number => blobBytes(everything());
const notes = ({ events }: Run): readonly string[] =>
  events.flatMap((event) => (event.type === "note" ? [event.message] : []));

/** Pulls the same elsewhere, undisturbed, and compares the bytes. */
async function expectSameAsUndisturbed({ images, path, folder }: Lab): Promise<void> {
  const other = folder.join("undisturbed.tar");
  await pull(images, other);
  expect((await readFile(path)).equals(await readFile(other))).toBe(true);
  await using bundle = await BundleReader.open(path);
  expect(await findProblems(bundle)).toEqual([]);
}

describe("half a blob", () => {
  test("goes on by Range from where it stood", async () => {
    await using lab_ = await lab();
    await interrupted(lab_, 2_500_000);
    const before = sent(lab_.registry);
    lab_.registry.resetLog();
    const run = await pull(lab_.images, lab_.path);
    const [ranged] = lab_.registry.requests.filter(({ headers }) => headers.range !== undefined);
    expect(ranged?.headers.range).toMatch(/^bytes=[1-3]\d{6}-/);
    // In memory the server is far ahead of the client: what it had sent by then is at most all of that blob.
    expect(sent(lab_.registry)).toBeLessThan(total() - 1_000_000);
    expect(before).toBeGreaterThan(0);
    expect(run.events.filter(({ type }) => type === "note")).toEqual([]);
    const kept = run.events.flatMap((event) => (event.type === "blob-finished" ? (event.reused ?? 0) : 0));
    expect(kept.reduce((a, b) => a + b)).toBe(total() - sent(lab_.registry));
    await expectSameAsUndisturbed(lab_);
  });

  test("whose last bytes are damaged on the disk goes on from before them", async () => {
    await using lab_ = await lab();
    await interrupted(lab_, 2_500_000);
    const journal = await readFile(journalPath(lab_.path), "utf8");
    const [, at, got] = /"at":(\d+),"got":(\d+)\},"hash"[^\n]*\s*$/.exec(journal) ?? [];
    const part = await readFile(partPath(lab_.path));
    const damaged = Number(at) + Number(got) - 10;
    part.writeUInt8(part.readUInt8(damaged) ^ 1, damaged);
    await writeFile(partPath(lab_.path), part);
    lab_.registry.resetLog();
    await pull(lab_.images, lab_.path);
    const from = lab_.registry.requests.flatMap(
      ({ headers }) => /=(\d+)-/.exec(headers.range ?? "")?.[1] ?? [],
    );
    expect(Number(from[0])).toBeGreaterThan(0);
    expect(Number(from[0])).toBeLessThan(Number(got));
    await expectSameAsUndisturbed(lab_);
  });

  test("of which the source had sent something else begins anew", async () => {
    await using lab_ = await lab();
    lab_.registry.fault("corrupt-blob", { at: 100, match: { path: /\/blobs\// }, times: 1 });
    await interrupted(lab_, 2_500_000);
    const run = await pull(lab_.images, lab_.path, { concurrency: 1 });
    expect(run.committed).toBe(true);
    await expectSameAsUndisturbed(lab_);
  });

  test("of a part that is shorter now goes on as far as it is right", async () => {
    await using lab_ = await lab();
    await interrupted(lab_, 2_500_000);
    await truncate(partPath(lab_.path), 1_200_000);
    await pull(lab_.images, lab_.path);
    await expectSameAsUndisturbed(lab_);
  });
});

describe("another plan", () => {
  test("keeps what it shares with the one before: a tag that has moved", async () => {
    await using lab_ = await lab();
    await interrupted(lab_, 6_300_000);
    const newer = makeIndex([
      ...tools.children,
      await makeImage({ seed: "new", platform: "linux/s390x", layers: [10_000] }),
    ]);
    seed(lab_.registry, "team/tools", "1.0", newer);
    lab_.registry.resetLog();
    const run = await pull(lab_.images, lab_.path);
    expect(notes(run)).toEqual([]);
    // The two large layers were there.
    expect(sent(lab_.registry)).toBeLessThan(total() - 5_500_000);
    await expectSameAsUndisturbed(lab_);
  });

  test.each([1, 0])(
    "keeps what it shares with the one before: only image %i is wanted now",
    async (index) => {
      await using lab_ = await lab();
      await interrupted(lab_, 6_300_000);
      lab_.registry.resetLog();
      const images = lab_.images.slice(index, index + 1);
      await pull(images, lab_.path);
      if (index === 0) expect(sent(lab_.registry)).toBeLessThan(500_000);
      await expectSameAsUndisturbed({ ...lab_, images });
    },
  );

  test("can follow again and again, and back to the first one", async () => {
    await using lab_ = await lab();
    for (const [order, bytes] of [
      [[0, 1], 4_500_000],
      [[0], 5_000_000],
      [[1, 0], 5_500_000],
    ] as const) {
      const images = order.flatMap((index) => lab_.images[index] ?? []);
      await interrupted({ ...lab_, images }, bytes);
    }
    lab_.registry.resetLog();
    await pull(lab_.images, lab_.path);
    expect(sent(lab_.registry)).toBeLessThan(total() - 3_000_000);
    await expectSameAsUndisturbed(lab_);
  });
});

describe("an earlier bundle", () => {
  test("of the same name gives what it has, and manifests are not asked for either", async () => {
    await using lab_ = await lab();
    await pull(lab_.images.slice(0, 1), lab_.path);
    lab_.registry.resetLog();
    await using old = await BundleReader.open(lab_.path);
    await pull(lab_.images, lab_.path, { reuse: [old] });
    expect(sent(lab_.registry)).toBe(total() - blobBytes([app]));
    await expectSameAsUndisturbed(lab_);
  });

  test("that is damaged gives what is right in it, and the rest is fetched", async () => {
    await using lab_ = await lab();
    const old = lab_.folder.join("old.tar");
    await pull(lab_.images, old);
    const bytes = await readFile(old);
    const at = bytes.indexOf(app.layers[0]?.bytes ?? "") + 3_000_000;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await writeFile(old, bytes);
    lab_.registry.resetLog();
    await using reader = await BundleReader.open(old);
    const run = await pull(lab_.images, lab_.path, { reuse: [reader] });
    expect(sent(lab_.registry)).toBe(app.layers[0]?.bytes.length);
    expect(notes(run)).toEqual([expect.stringContaining("holds damaged content: sha256:")]);
    await expectSameAsUndisturbed(lab_);
  });
});

test("a damaged bundle does not cost what had come of a blob before", async () => {
  await using lab_ = await lab();
  const old = lab_.folder.join("old.tar");
  await pull(lab_.images, old);
  const bytes = await readFile(old);
  const at = bytes.indexOf(app.layers[0]?.bytes ?? "") + 3_900_000;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await writeFile(old, bytes);
  await interrupted(lab_, 2_500_000);
  lab_.registry.resetLog();
  await using reader = await BundleReader.open(old);
  await pull(lab_.images, lab_.path, { reuse: [reader] });
  expect(sent(lab_.registry)).toBeLessThan(2_000_000);
  await expectSameAsUndisturbed(lab_);
});

test("a whole blob whose last pages a power cut took goes on from before them", async () => {
  await using lab_ = await lab();
  await interrupted(lab_, 6_100_000);
  const part = await readFile(partPath(lab_.path));
  const layer = app.layers[0]?.bytes ?? Buffer.alloc(0);
  const at = part.indexOf(layer);
  expect(at).toBeGreaterThan(0);
  part.fill(0, at + layer.length - 4096, at + layer.length);
  await writeFile(partPath(lab_.path), part);
  lab_.registry.resetLog();
  await pull(lab_.images, lab_.path);
  const ranges = lab_.registry.requests.flatMap(({ headers }) => headers.range ?? []);
  expect(ranges).toContainEqual(expect.stringMatching(/^bytes=3\d{6}-/));
  await expectSameAsUndisturbed(lab_);
});

test("a list that was a mistake does not cost what the right one had brought", async () => {
  await using lab_ = await lab();
  await interrupted(lab_, 6_300_000);
  const mistake = wanted(lab_.registry, "team/other:1.0");
  seed(lab_.registry, "team/other", "1.0", await makeImage({ seed: "other", layers: [50_000] }));
  lab_.registry.fault("status", { status: 403, match: { path: /other\/blobs/ } });
  const failed = await pull([mistake], lab_.path);
  expect(failed.committed).toBe(false);
  lab_.registry.clearFaults();
  lab_.registry.resetLog();
  await pull(lab_.images, lab_.path);
  expect(sent(lab_.registry)).toBeLessThan(3_000_000);
  await expectSameAsUndisturbed(lab_);
});

test("a fresh start takes nothing up", async () => {
  await using lab_ = await lab();
  await interrupted(lab_, 6_300_000);
  lab_.registry.resetLog();
  await pull(lab_.images, lab_.path, { fresh: true });
  expect(sent(lab_.registry)).toBe(total());
  await expectSameAsUndisturbed(lab_);
});

test("images that fail are taken out, and the part of the next run is whole", async () => {
  await using lab_ = await lab();
  const lost = tools.children[1]?.kind === "image" ? tools.children[1].layers[0]?.descriptor.digest : "";
  lab_.registry.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${lost}`) } });
  const { committed } = await pull(lab_.images, lab_.path, { keepGoing: true });
  expect(committed).toBe(true);
  lab_.registry.clearFaults();
  await expectSameAsUndisturbed({ ...lab_, images: lab_.images.slice(0, 1) });
});
