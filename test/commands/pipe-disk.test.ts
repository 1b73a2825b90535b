/** Pipes leave nothing on the disk: no bundle, no notes, no temporary file. */
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { seed } from "../support/images.ts";
import { digests, flipped, makePipeCorpus, type PipeCorpus, placeOf } from "../support/pipe-corpus.ts";
import { hasStrace } from "../support/strace.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const MiB = 1024 * 1024;

let corpus: PipeCorpus;
let target: TestRegistry;
/** All that a program could think of writing to. */
let disk: TempDir;

beforeAll(async () => {
  corpus = await makePipeCorpus();
});
beforeEach(async () => {
  await target?.[Symbol.asyncDispose]();
  target = await startRegistry();
  await disk?.[Symbol.asyncDispose]();
  disk = await tempDir();
  for (const name of folders) await mkdir(disk.join(name), { recursive: true });
});
afterAll(async () => {
  await Promise.all([corpus, target, disk].map((each) => each[Symbol.asyncDispose]()));
});

const folders = ["cwd", "home", "tmp", "config", "cache", "data", "state", "run"];

async function mirror(
  args: readonly string[],
  options: { readonly stdin?: Buffer; readonly under?: readonly string[] } = {},
): Promise<RunResult> {
  return await runMirror(args, {
    ...options,
    cwd: disk.join("cwd"),
    env: {
      // Not even what makes the tests faster.
      NODE_COMPILE_CACHE: undefined,
      HOME: disk.join("home"),
      TMPDIR: disk.join("tmp"),
      DOCKER_CONFIG: disk.join("config"),
      XDG_CONFIG_HOME: disk.join("config"),
      XDG_CACHE_HOME: disk.join("cache"),
      XDG_DATA_HOME: disk.join("data"),
      XDG_STATE_HOME: disk.join("state"),
      XDG_RUNTIME_DIR: disk.join("run"),
    },
  });
}

const push = (): readonly string[] => ["push", "-", "--registry", target.host];
const pull = (): readonly string[] => ["pull", ...corpus.images, "--to", "-"];
const written = async (): Promise<readonly string[]> =>
  (await readdir(disk.path, { recursive: true })).filter((name) => !folders.includes(name));

/** Every file of the notes with its content and time. */
async function notes(): Promise<readonly string[]> {
  const entries = await readdir(disk.join("state"), { recursive: true, withFileTypes: true });
  const described = entries.map(async (entry) => {
    const path = `${entry.parentPath}/${entry.name}`;
    const { mtimeMs } = await stat(path);
    return `${path} ${mtimeMs} ${entry.isFile() ? await readFile(path, "latin1") : ""}`;
  });
  return (await Promise.all(described)).sort();
}

describe("nothing is on the disk after", () => {
  test("push -", async () => {
    const result = await mirror(push(), { stdin: corpus.bundle });
    expect(result.code, result.stderr).toBe(0);
    expect(await written()).toEqual([]);
  });

  test("push - whose content is damaged behind chunks that the registry has taken", async () => {
    const [, one = ""] = digests(corpus.big);
    const broken = flipped(corpus.bundle, placeOf(corpus.bundle, one) + 69 * MiB);
    const result = await mirror(push(), { stdin: broken });
    expect(result.code, result.stderr).toBe(4);
    expect(incompleteTags(target)).toEqual([]);
    expect(await written()).toEqual([]);
  });

  test("push - whose input ends", async () => {
    const result = await mirror(push(), { stdin: corpus.bundle.subarray(0, 60 * MiB) });
    expect(result.code).not.toBe(0);
    expect(await written()).toEqual([]);
  });

  test.each(["verify", "ls", "inspect"])("%s -", async (command) => {
    const result = await mirror([command, "-"], { stdin: corpus.bundle });
    expect(result.code, result.stderr).toBe(0);
    expect(await written()).toEqual([]);
  });

  test("pull --to -", async () => {
    const result = await mirror(pull());
    expect(result.output.equals(corpus.bundle)).toBe(true);
    expect(await written()).toEqual([]);
  });
});

describe("the notes of earlier pushes", () => {
  test("are used by push - for mounts, and stay as they are", async () => {
    const first = await mirror(["push", corpus.folder.join("file.tar"), "--registry", target.host]);
    expect(first.code, first.stderr).toBe(0);
    const before = await notes();
    expect(before.length).toBeGreaterThan(0);
    await using other = await startRegistry();
    seed(other, "elsewhere/copy", "1.0", corpus.api);
    const pulled = await mirror(["pull", `${other.host}/elsewhere/copy:1.0`, "--to", "-"]);
    target.resetLog();
    const result = await mirror(push(), { stdin: pulled.output });
    expect(result.code, result.stderr).toBe(0);
    expect(target.count("POST", /elsewhere\/copy.*mount=/)).toBeGreaterThan(0);
    expect(target.count("PUT", /blobs\/uploads/)).toBe(0);
    expect(incompleteTags(target)).toEqual([]);
    expect(await notes()).toEqual(before);
  });

  test("are kept by a push of a file as before", async () => {
    await mirror(["push", corpus.folder.join("file.tar"), "--registry", target.host]);
    expect(await written()).toContain("state/mirror/stored");
  });
});

describe.skipIf(!hasStrace)("no system call of the program makes or changes a file in", () => {
  const calls =
    "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate,unlink,unlinkat,mknod,mknodat,chmod,fchmodat,memfd_create";
  test.each([
    ["push -", push, true],
    ["pull --to -", pull, false],
  ])("%s", async (_, args, reads) => {
    await using log = await tempDir();
    const trace = log.join("trace");
    const under = ["strace", "-f", "-qq", "-o", trace, "-e", `trace=${calls}`];
    const result = await mirror(args(), { under, ...(reads ? { stdin: corpus.bundle } : {}) });
    expect(result.code, result.stderr).toBe(0);
    const lines = (await readFile(trace, "utf8")).split("\n").filter((line) => line.includes("("));
    expect(lines.length).toBeGreaterThan(20);
    const changing = lines.filter(
      (line) => !/ open(?:at)?\(/.test(line) || /O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)/.test(line),
    );
    // Devices are no files, and what failed has made none.
    expect(changing.filter((line) => !/"\/dev\/(?:null|tty)"|= -1 E|resumed>|\+\+\+|---/.test(line))).toEqual(
      [],
    );
  });
});
