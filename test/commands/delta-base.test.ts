/** What a delta leans on: it stays as it is, it is called by its name, and what of it is not there is named. */
import { execFile } from "node:child_process";
import { link, readdir, readFile, rename, symlink } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { allTests, eachTest } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const mebibyte = 1024 * 1024;
const layers = await Promise.all(
  ["one", "two", "three"].map(async (name) => await makeRandomLayer(name, 1_200_000)),
);
const october = await makeImage({ seed: "october", layers });
const november = await makeImage({ seed: "november", layers: [...layers, 5_000] });
const december = await makeImage({ seed: "december", layers: [...layers, 6_000] });

let source: TestRegistry;
let folder: TempDir;

allTests(startRegistry, (registry) => {
  source = registry;
});
eachTest(tempDir, (made) => {
  folder = made;
});

const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path });

async function done(...args: readonly string[]): Promise<RunResult> {
  const result = await mirror(...args);
  expect(result.code, `mirror ${args.join(" ")}\n${result.stderr}`).toBe(0);
  return result;
}

/** Pulls the image of a month. */
const pull = async (image: TestImage, to: string, ...flags: readonly string[]): Promise<RunResult> => {
  seed(source, "team/app", "1.0", image);
  return await mirror("pull", `${source.host}/team/app:1.0`, "--to", to, ...flags);
};
const inVolumes = ["--volume-size", "1MiB"];

/** Every file of the folder, with its content. */
async function contents(): Promise<ReadonlyMap<string, string>> {
  const names = await readdir(folder.path);
  const read = names.map(
    async (name) => [name, (await readFile(folder.join(name))).toString("latin1")] as const,
  );
  return new Map((await Promise.all(read)).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

describe("a delta does not replace what it leans on", () => {
  test.each([
    ["a file", [], "old.tar", "old.tar", []],
    ["a file, by volumes of its name", [], "old.tar", "old.tar", inVolumes],
    ["volumes", inVolumes, "old.tar", "old.tar", inVolumes],
    ["volumes, named by one of them", inVolumes, "old.tar.002", "./old.tar", ["--volume-size", "2MiB"]],
    ["volumes, by a file that takes their name", inVolumes, "old.tar", "old.tar", []],
    ["volumes, with --fresh", inVolumes, "old.tar.001", "old.tar", [...inVolumes, "--fresh"]],
  ])("%s", async (_, made, base, to, flags) => {
    await pull(october, "old.tar", ...made);
    const before = await contents();
    expect(before.size).toBeGreaterThan(0);
    const result = await pull(november, to, "--base", base, ...flags);
    expect(result.stderr).toContain(`Cannot write ${to}: the delta would replace what it leans on: old.tar`);
    expect(result.stderr).toContain("give the delta another name: --to");
    expect(result.code).toBe(2);
    expect(await contents()).toEqual(before);
    expect((await pull(november, "new.tar", "--base", base, ...flags)).code).toBe(0);
    await done("verify", "new.tar", "--base", base);
  });

  test.each([
    ["a symbolic link to the base", symlink, "old.tar", "link.tar", "old.tar"],
    ["a hard link to the base", link, "old.tar", "link.tar", "old.tar"],
    ["a symbolic link as the target", symlink, "old.tar", "old.tar", "link.tar"],
  ])("by %s", async (_, make, made, base, to) => {
    await pull(october, made);
    await make(folder.join("old.tar"), folder.join("link.tar"));
    const before = await contents();
    const result = await pull(november, to, "--base", base);
    expect(result.stderr).toContain("the delta would replace what it leans on");
    expect(result.stderr).toContain(base);
    expect(result.code).toBe(2);
    expect(await contents()).toEqual(before);
  });

  test("by a link to a volume", async () => {
    await pull(october, "old.tar", ...inVolumes);
    for (const name of (await readdir(folder.path)).filter((file) => file.startsWith("old.tar.")))
      await link(folder.join(name), folder.join(name.replace("old", "kept")));
    const result = await pull(november, "old.tar", "--base", "kept.tar", ...inVolumes);
    expect(result.stderr).toContain("the delta would replace what it leans on: kept.tar.001");
    expect(result.code).toBe(2);
  });

  test("through another delta, which leans on it", async () => {
    await pull(october, "october.tar");
    expect((await pull(november, "november.tar", "--base", "october.tar")).code).toBe(0);
    const before = await contents();
    const result = await pull(december, "october.tar", "--base", "november.tar");
    expect(result.stderr).toContain(
      "Cannot write october.tar: november.tar leans on the october.tar that is there, and so would the delta",
    );
    expect(result.code).toBe(2);
    expect(await contents()).toEqual(before);
    expect((await pull(december, "december.tar", "--base", "november.tar")).code).toBe(0);
    await done("verify", "december.tar", "--base", "november.tar", "--base", "october.tar");
  });

  test("but a name that only begins like it is free", async () => {
    await pull(october, "old.tar", ...inVolumes);
    expect((await pull(november, "old.tar.new", "--base", "old.tar", ...inVolumes)).code).toBe(0);
    await done("verify", "old.tar.new", "--base", "old.tar");
  });
});

describe("a base in volumes", () => {
  test.each(["old.tar", "old.tar.003"])("named %s goes by the name of the whole", async (base) => {
    await pull(october, "old.tar", ...inVolumes);
    const { stderr } = await pull(november, "new.tar", "--base", base);
    expect(stderr).toMatch(/^note: new\.tar is a delta: it leans on 3 blobs \(.*\) of old\.tar$/m);
    const { stdout } = await done("ls", "new.tar", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ base: { sources: [{ kind: "bundle", name: "old.tar" }] } });
    await using empty = await startRegistry();
    const pushed = await mirror("push", "new.tar", "--registry", empty.host);
    expect(pushed.stderr).toContain("which old.tar had");
    expect(pushed.stderr).toContain(`mirror push old.tar --registry ${empty.host}`);
  });

  test("that is another bundle is called so by verify", async () => {
    await pull(october, "old.tar", ...inVolumes);
    await pull(november, "new.tar", "--base", "old.tar");
    await pull(await makeImage({ seed: "other", layers: [2_000_000] }), "other.tar", ...inVolumes);
    const result = await mirror("verify", "new.tar", "--base", "other.tar.002");
    expect(result.stderr).toContain("is not in other.tar; old.tar had it");
    expect(result.code).toBe(4);
  });

  test.each(["old.tar", "old.tar.001"])(
    "of which one is missing: verify --base %s names it and what it holds",
    async (base) => {
      await pull(october, "old.tar", ...inVolumes);
      await pull(november, "new.tar", "--base", "old.tar");
      const whole = await joined("old.tar");
      await rename(folder.join("old.tar.003"), folder.join("away"));
      const result = await mirror("verify", "new.tar", "--base", base, "--json");
      expect(result.code).toBe(4);
      const held = layers
        .filter(({ bytes }) => {
          const from = whole.indexOf(bytes) - 512;
          return from < 3 * mebibyte && from + 512 + bytes.byteLength > 2 * mebibyte;
        })
        .map(({ descriptor }) => descriptor.digest);
      expect(held.length).toBeGreaterThan(0);
      const { problems } = JSON.parse(result.stdout) as { problems?: unknown };
      const told = problems ?? JSON.parse(result.stdout);
      expect(JSON.stringify(told)).toContain("old.tar.003 is missing");
      const plain = await mirror("verify", "new.tar", "--base", base);
      expect(plain.stderr).toContain("new.tar is whole as a delta, but what it leans on is not");
      expect(plain.stderr).toMatch(
        new RegExp(
          `old\\.tar\\.003 is missing; it holds all or part of ${held.length} blobs? .*of old\\.tar`,
        ),
      );
      for (const digest of held) expect(plain.stderr).toContain(digest);
      expect(plain.stderr).not.toMatch(/old\.tar\.00[1245]/);
      expect(plain.stderr).toContain("put old.tar.003 beside the others");
      await rename(folder.join("away"), folder.join("old.tar.003"));
      await done("verify", "new.tar", "--base", base);
    },
  );

  test("lacks nothing where another base has what the missing volume held", async () => {
    await pull(october, "old.tar", ...inVolumes);
    await pull(november, "new.tar", "--base", "old.tar");
    await pull(october, "copy.tar");
    await rename(folder.join("old.tar.003"), folder.join("away"));
    for (const order of [
      ["--base", "old.tar", "--base", "copy.tar"],
      ["--base", "copy.tar", "--base", "old.tar"],
    ])
      await done("verify", "new.tar", ...order);
  });
});

async function joined(path: string): Promise<Buffer> {
  const names = (await readdir(folder.path)).filter((name) => name.startsWith(`${path}.`)).toSorted();
  return Buffer.concat(await Promise.all(names.map(async (name) => await readFile(folder.join(name)))));
}

describe("a pipe in the place of a file is refused, and not waited for", () => {
  const makePipe = async (name: string): Promise<void> =>
    void (await promisify(execFile)("mkfifo", [folder.join(name)]));

  test.each([
    ["pull --base", (): Promise<RunResult> => pull(november, "new.tar", "--base", "pipe")],
    ["pull --reuse", (): Promise<RunResult> => pull(november, "new.tar", "--reuse", "pipe")],
    ["verify", (): Promise<RunResult> => mirror("verify", "pipe")],
    ["verify --base", (): Promise<RunResult> => mirror("verify", "new.tar", "--base", "pipe")],
    ["push", (): Promise<RunResult> => mirror("push", "pipe", "--registry", source.host)],
    ["receipt", (): Promise<RunResult> => mirror("receipt", "pipe", "--registry", source.host)],
  ])("%s", async (_, run) => {
    await pull(october, "new.tar");
    await makePipe("pipe");
    const result = await run();
    expect(result.stderr).toMatch(/Cannot read pipe: it is (?:not a file|neither a file nor a folder)/);
    expect(result.code).toBe(1);
  });

  test("--base with a device", async () => {
    const result = await pull(november, "new.tar", "--base", "/dev/zero");
    expect(result.stderr).toContain("Cannot read /dev/zero: it is neither a file nor a folder");
    expect(result.code).toBe(1);
  });

  test.each(["set.tar.001", "set.tar-001.sum"])("beside others as %s", async (name) => {
    await makePipe(name);
    const result = await mirror("verify", "./set.tar");
    expect(result.stderr).toContain("Cannot read ./set.tar: there is no such file");
    expect(result.code).toBe(1);
  });

  test("in the place of a volume, which is missing then", async () => {
    await pull(october, "old.tar", ...inVolumes);
    await rename(folder.join("old.tar.003"), folder.join("away"));
    await makePipe("old.tar.003");
    const result = await mirror("verify", "old.tar");
    expect(result.stderr).toContain("old.tar.003 is missing");
    expect(result.code).toBe(4);
  });
});
