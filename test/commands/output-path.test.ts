/** Where a bundle cannot be written or read: told before anything is fetched, and nothing waits for ever. */
import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let source: TestRegistry;

beforeAll(async () => {
  source = await startRegistry();
  seed(source, "team/app", "1.0", await makeImage());
});
afterAll(async () => await source[Symbol.asyncDispose]());
beforeEach(async () => {
  folder = await tempDir();
  source.resetLog();
  return async () => await folder[Symbol.asyncDispose]();
});

async function pullTo(path: string, options: Parameters<typeof runMirror>[1] = {}): Promise<RunResult> {
  return await runMirror(["pull", `${source.host}/team/app:1.0`, "--to", path], options);
}

function expectRefused({ code, stderr }: RunResult, message: string): void {
  expect(code, stderr).toBe(1);
  expect(stderr).toBe(`Error: ${message}\n`);
  expect(source.requests).toEqual([]);
}

test("a folder that is not there, or is a file", async () => {
  await writeFile(folder.join("file"), "");
  const missing = folder.join("missing/b.tar");
  expectRefused(
    await pullTo(missing),
    `Cannot write ${missing}: there is no folder ${folder.join("missing")}\n  hint: make it with mkdir -p ${folder.join("missing")}, or check the path`,
  );
  const below = folder.join("file/b.tar");
  expectRefused(await pullTo(below), `Cannot write ${below}: ${folder.join("file")} is not a folder`);
});

test("a folder, a pipe or a device where the bundle is to be", async () => {
  await mkdir(folder.join("folder"));
  expectRefused(
    await pullTo(folder.join("folder")),
    `Cannot write ${folder.join("folder")}: it is a folder\n  hint: name a file in it: ${folder.join("folder")}/bundle.tar`,
  );
  execFileSync("mkfifo", [folder.join("pipe")]);
  for (const path of [folder.join("pipe"), "/dev/null"])
    expectRefused(await pullTo(path), `Cannot write ${path}: it is not a regular file`);
});

test.each(["verify", "ls", "inspect", "push --registry 127.0.0.1:1"])(
  "a pipe that %s is to read is refused, not waited for",
  async (command) => {
    const pipe = folder.join("pipe.tar");
    execFileSync("mkfifo", [pipe]);
    const result = await runMirror([...command.split(" "), pipe]);
    expectRefused(
      result,
      `Cannot read ${pipe}: it is neither a file nor a folder\n  hint: name a bundle, an archive of images, or a folder with an OCI layout`,
    );
  },
);

describe.runIf(process.getuid?.() === 0 && process.platform === "linux")("as an ordinary user", () => {
  const under = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

  /** Pulls as `nobody`, who may enter the test's folder. */
  async function asNobody(path: string): Promise<RunResult> {
    await chmod(folder.path, 0o755);
    const homes = [
      "HOME",
      "DOCKER_CONFIG",
      "XDG_CONFIG_HOME",
      "XDG_CACHE_HOME",
      "XDG_DATA_HOME",
      "XDG_RUNTIME_DIR",
    ];
    const env = Object.fromEntries(homes.map((name) => [name, folder.path]));
    return await pullTo(path, { under, cwd: folder.path, env });
  }
  const hint = "  hint: choose another folder, or ask for the right to use this one";

  test("a folder of somebody else", async () => {
    const path = folder.join("b.tar");
    expectRefused(await asNobody(path), `Cannot write ${path}: permission denied\n${hint}`);
  });

  test("what a run of somebody else has left", async () => {
    const path = folder.join("open/b.tar");
    await mkdir(folder.join("open"));
    await chmod(folder.join("open"), 0o777);
    await writeFile(`${path}.part`, "");
    expectRefused(await asNobody(path), `Cannot write ${path}.part: permission denied\n${hint}`);
  });

  test("a bundle of somebody else is replaced where the folder lets it, and otherwise refused", async () => {
    const shared = folder.join("shared");
    const path = `${shared}/b.tar`;
    await mkdir(shared);
    await chmod(shared, 0o1777);
    await writeFile(path, "theirs");
    expectRefused(
      await asNobody(path),
      `Cannot write ${path}: it belongs to another user, and so it stays in ${shared}\n  hint: choose another name or folder`,
    );
    await chmod(shared, 0o777);
    const pulled = await asNobody(path);
    expect(pulled.code, pulled.stderr).toBe(0);
    expect(await readdir(shared)).toEqual(["b.tar"]);
  });
});

test.each([".part", ".part.journal", ".part.move"])(
  "a link or a folder where the bundle grows (%s) is refused, and what it leads to stays",
  async (suffix) => {
    await writeFile(folder.join("other"), "of somebody else");
    for (const [target, kind] of [
      ["other", "a symbolic link"],
      ["nothing-yet", "a symbolic link"],
      [undefined, "a folder"],
    ] as const) {
      const path = folder.join(`${target ?? "folder"}.tar`);
      if (target === undefined) await mkdir(`${path}${suffix}`);
      else await symlink(folder.join(target), `${path}${suffix}`);
      expectRefused(
        await pullTo(path),
        `Cannot write ${path}${suffix}: it is ${kind}\n  hint: remove it, or choose another name for the bundle`,
      );
    }
    expect(await readFile(folder.join("other"), "utf8")).toBe("of somebody else");
    await expect(readFile(folder.join("nothing-yet"))).rejects.toThrow("ENOENT");
  },
);

test("a link where a receipt grows is no way to another file", async () => {
  await writeFile(folder.join("other"), "of somebody else");
  await symlink(folder.join("other"), folder.join("receipt.json.part"));
  const to = folder.join("receipt.json");
  const result = await runMirror(["receipt", "--registry", source.host, "--to", to]);
  expect(result.code, result.stderr).toBe(0);
  expect(await readFile(folder.join("other"), "utf8")).toBe("of somebody else");
  expect(JSON.parse(await readFile(to, "utf8"))).toMatchObject({ kind: "mirror-receipt" });
});
