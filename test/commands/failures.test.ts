/** Images that fail, and bundles that are damaged: what a user is told, and what is left at the other side. */
import { open, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

let folder: TempDir;
let source: TestRegistry;
let good: TestImage;
let bad: TestImage;
/** The digest of the second layer of the image that tests damage. */
let layer: string;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  good = await makeImage({ seed: "good", layers: [2000] });
  bad = await makeImage({ seed: "bad", layers: [1000, 5000] });
  layer = bad.layers[1]?.descriptor.digest ?? "";
  seed(source, "team/good", "1.0", good);
  seed(source, "team/bad", "1.0", bad);
});
beforeEach(() => source.clearFaults());

const goodName = () => `${source.host}/team/good:1.0`;
const badName = () => `${source.host}/team/bad:1.0`;
const absent = () => `${source.host}/team/good:absent`;
const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path });
const exists = async (name: string): Promise<boolean> =>
  await stat(folder.join(name)).then(
    () => true,
    () => false,
  );
const breakLayer = () =>
  source.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${layer}$`) } });
const statuses = (result: RunResult): Readonly<Record<string, string>> => {
  const { images } = JSON.parse(result.stdout) as { images: { image: string; status: string }[] };
  return Object.fromEntries(images.map(({ image, status }) => [image, status]));
};

describe("pull with an image that fails", () => {
  test.each([
    ["in planning", absent, () => undefined],
    ["in the transfer", badName, breakLayer],
  ])("%s writes no bundle, ends with 1 and calls nothing done", async (_, failing, prepare) => {
    prepare();
    const result = await mirror("pull", goodName(), failing(), "--to", "none.tar", "--json");
    expect(result.code).toBe(1);
    expect(statuses(result)).toEqual({ [goodName()]: "skipped", [failing()]: "failed" });
    expect(await exists("none.tar")).toBe(false);
    expect(JSON.parse(result.stdout)).toMatchObject({
      error: { code: "PARTIAL", hint: expect.stringContaining("--keep-going") },
    });
  });

  test.each([
    ["in planning", absent, () => undefined],
    ["in the transfer", badName, breakLayer],
  ])("%s and --keep-going writes the bundle of the others, and ends with 3", async (_, failing, prepare) => {
    prepare();
    const result = await mirror("pull", failing(), goodName(), "--to", "rest.tar", "--keep-going", "--json");
    expect(result.code).toBe(3);
    expect(statuses(result)).toEqual({ [goodName()]: "done", [failing()]: "failed" });
    source.clearFaults();
    expect((await mirror("pull", goodName(), "--to", "good.tar")).code).toBe(0);
    const [rest, alone] = await Promise.all([
      readFile(folder.join("rest.tar")),
      readFile(folder.join("good.tar")),
    ]);
    expect(rest.equals(alone)).toBe(true);
    expect((await mirror("verify", "rest.tar")).code).toBe(0);
  });

  test("alone is told once, and --keep-going changes nothing", async () => {
    const result = await mirror("pull", absent(), "--to", "none.tar", "--keep-going");
    expect(result.code).toBe(1);
    expect(result.stderr.match(/has no such tag/g)).toHaveLength(1);
    expect(await exists("none.tar")).toBe(false);
  });
});

describe("sync with an image that fails", () => {
  test("does the others, lists all, and ends with 3", async () => {
    await using target = await startRegistry();
    breakLayer();
    const args = ["sync", badName(), absent(), goodName(), "--registry", target.host];
    const result = await mirror(...args, "--json");
    expect(result.code).toBe(3);
    expect(statuses(result)).toEqual({
      [badName()]: "failed",
      [absent()]: "failed",
      [goodName()]: "done",
    });
    expect([target.tags("team/good"), target.tags("team/bad")]).toEqual([["1.0"], []]);

    const told = await mirror(...args);
    expect(told.stderr).toMatch(/^Error: 2 of 3 images failed\n {2}hint: .*run the same command again/m);
    expect(told.stderr.match(/^failed /gm)).toHaveLength(2);
  });

  test("stops at the first with --fail-fast, says it once and says nothing after it", async () => {
    await using target = await startRegistry();
    const result = await mirror("sync", absent(), goodName(), "--registry", target.host, "--fail-fast");
    expect(result.code).toBe(1);
    expect(result.stderr.match(/has no such tag/g)).toHaveLength(1);
    expect(result.stderr).not.toContain("retrying");
    expect(target.repositories()).toEqual([]);
  });

  test("stops in the transfer with --fail-fast, and lists what was left out", async () => {
    await using target = await startRegistry();
    breakLayer();
    source.fault("slow", { match: { path: /\/team\/good\/blobs\// } });
    const args = ["sync", badName(), goodName(), "--registry", target.host, "--fail-fast", "--json"];
    const result = await mirror(...args);
    expect(result.code).toBe(1);
    expect(statuses(result)).toEqual({ [badName()]: "failed", [goodName()]: "skipped" });
    expect(target.tags("team/good")).toEqual([]);
  });

  test("ends with 4 if its content is damaged", async () => {
    await using target = await startRegistry();
    source.fault("corrupt-blob", { match: { path: new RegExp(layer) } });
    const result = await mirror("sync", badName(), goodName(), "--registry", target.host);
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`failed ${badName()}: Cannot verify ${layer}`);
    expect([target.tags("team/good"), incompleteTags(target)]).toEqual([["1.0"], []]);
  });
});

describe("a damaged bundle", () => {
  let whole: Buffer;
  beforeAll(async () => {
    source.clearFaults();
    expect((await mirror("pull", goodName(), badName(), "--to", "bundle.tar")).code).toBe(0);
    whole = await readFile(folder.join("bundle.tar"));
  });

  async function flipped(name: string, at: number): Promise<void> {
    await writeFile(folder.join(name), whole);
    const file = await open(folder.join(name), "r+");
    await file.write(Buffer.from([whole.readUInt8(at) ^ 0x10]), 0, 1, at);
    await file.close();
  }

  test.each(["layer", "manifest", "config"] as const)(
    "with one flipped bit in a %s is refused by verify and push, by the blob and its image",
    async (part) => {
      const content = {
        layer: bad.layers[1]?.bytes ?? Buffer.alloc(0),
        manifest: bad.manifest,
        config: bad.config.bytes,
      };
      const digest = {
        layer,
        manifest: bad.descriptor.digest,
        config: bad.config.descriptor.digest,
      }[part];
      const name = `flipped-${part}.tar`;
      await flipped(name, whole.indexOf(content[part]) + 100);
      const verified = await mirror("verify", name);
      expect(verified.code).toBe(4);
      expect(verified.stderr).toContain(`Error: ${name} is damaged: 1 problem`);
      expect(verified.stderr).toContain(digest);
      expect(verified.stderr).toContain(badName());
      expect(verified.stderr).not.toContain(goodName());

      await using target = await startRegistry();
      const pushed = await mirror("push", name, "--registry", target.host);
      expect(pushed.code).toBe(4);
      expect(pushed.stderr).toContain(`failed ${badName()}: Cannot verify ${name}: ${digest} is damaged: `);
      expect(pushed.stderr).toContain("\n  hint: copy the bundle again, or pull it again\n");
      expect([target.tags("team/good"), target.tags("team/bad")]).toEqual([["1.0"], []]);
      expect(incompleteTags(target)).toEqual([]);
    },
  );

  const files: readonly (readonly [string, () => Buffer, number, RegExp])[] = [
    [
      "truncated",
      () => whole.subarray(0, whole.length - 2000),
      4,
      /it is truncated: \d+ bytes, expected \d+$/m,
    ],
    ["extended", () => Buffer.concat([whole, Buffer.alloc(1024)]), 4, /longer than it should be/],
    ["empty", () => Buffer.alloc(0), 1, /it is empty, or not a tar/],
    [
      "gzip'd and truncated",
      () => gzipSync(whole).subarray(0, -2000),
      4,
      /what is compressed with gzip is damaged or truncated/,
    ],
    ["flipped in its first header", () => flippedAt(3), 4, /the tar header at byte 0 has a wrong checksum/],
    ["flipped in its index", () => flippedAt(1024 + 600), 4, /its index\.json is not the one/],
  ];
  function flippedAt(at: number): Buffer {
    const copy = Buffer.from(whole);
    copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
    return copy;
  }

  test.each(files)(
    "that is %s is refused by every command that reads it",
    async (name, bytes, code, message) => {
      await writeFile(folder.join(`${name}.tar`), bytes());
      await using target = await startRegistry();
      const file = `${name}.tar`;
      const results = await Promise.all([
        mirror("verify", file),
        mirror("push", file, "--registry", target.host),
        mirror("ls", file),
        mirror("inspect", file),
      ]);
      for (const result of results) {
        expect(result.code, result.stderr).toBe(code);
        expect(result.stderr).toMatch(message);
        expect(result.stderr.match(/^Error: /gm)).toHaveLength(1);
        expect(result.stdout).toBe("");
      }
      expect(target.requests).toEqual([]);
    },
  );

  test("that was cut off after mirror.json says so, too", async () => {
    await writeFile(folder.join("cut.tar"), whole);
    await truncate(folder.join("cut.tar"), 900);
    const result = await mirror("verify", "cut.tar");
    expect([result.code, result.stderr]).toEqual([4, expect.stringContaining("truncated")]);
  });
});
