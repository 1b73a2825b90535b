import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ImageList } from "../../src/list/image-list.ts";
import { loadLists, maxListBytes } from "../../src/list/read-list.ts";
import { formatReference } from "../../src/oci/reference.ts";

let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "mirror-list-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

const put = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);
const load = (paths: readonly string[], input: readonly (string | Uint8Array)[] = []): Promise<ImageList> =>
  loadLists(paths, { stdin: Readable.from(input), cwd: folder });
const asked = (list: ImageList): string[] =>
  list.images.map((image) => `${formatReference(image.reference)} ${image.place}`);
const failed = (code: string, fields: Record<string, unknown>): unknown =>
  expect.objectContaining({ code, ...fields });

describe("loadLists", () => {
  it("puts lists of both forms and standard input together, each image once", async () => {
    await put("a.yaml", "version: 1\nregistries: {docker.io: {concurrency: 4}}\nimages: [nginx, redis]\n");
    await put("b.txt", "redis\nghcr.io/a/b:1\n");
    const list = await load(["a.yaml", "-", "b.txt", "a.yaml"], ["ngi", Buffer.from("nx\nbusy"), "box:1\n"]);
    expect(asked(list)).toEqual([
      "docker.io/library/nginx:latest a.yaml:3",
      "docker.io/library/redis:latest a.yaml:3",
      "docker.io/library/busybox:1 stdin:2",
      "ghcr.io/a/b:1 b.txt:2",
    ]);
    expect(list.registries.get("docker.io")).toEqual({ concurrency: 4 });
  });

  it("decodes characters that are split between chunks", async () => {
    const bytes = Buffer.from("nginx # für später\nredis\n");
    const list = await load(
      ["-"],
      [...bytes].map((byte) => Uint8Array.of(byte)),
    );
    expect(asked(list)).toHaveLength(2);
  });

  it("reads what PowerShell writes (UTF-16)", async () => {
    await put("utf16.txt", Buffer.from("\uFEFFnginx\r\nredis\r\n", "utf16le"));
    expect(asked(await load(["utf16.txt"]))).toEqual([
      "docker.io/library/nginx:latest utf16.txt:1",
      "docker.io/library/redis:latest utf16.txt:2",
    ]);
  });

  it("keeps the defaults of a list in that list", async () => {
    await put("amd.yaml", "version: 1\ndefaults: {platforms: [linux/amd64]}\nimages: [nginx]\n");
    await put("all.txt", "redis\n");
    const list = await load(["amd.yaml", "all.txt"]);
    expect(list.images.map((image) => image.platforms.length)).toEqual([1, 0]);
  });

  it("finds caFile from the folder of its list, and of standard input from the working folder", async () => {
    await mkdir(join(folder, "sub"));
    await put("sub/l.yaml", "version: 1\nregistries: {a.io: {caFile: ca.pem}}\nimages: [nginx]\n");
    const list = await load(
      ["sub/l.yaml", "-"],
      ["version: 1\nregistries: {b.io: {caFile: ca.pem}}\nimages: [a]"],
    );
    expect(list.registries.get("a.io")?.caFile).toBe(join(folder, "sub", "ca.pem"));
    expect(list.registries.get("b.io")?.caFile).toBe(join(folder, "ca.pem"));
  });

  it("puts a login together, finds its file from the folder of its list, and keeps its place", async () => {
    await mkdir(join(folder, "login"), { recursive: true });
    await put(
      "login/l.yaml",
      "version: 1\nregistries:\n  a.io:\n    passwordFile: pw\n    username: ada\nimages: [a]\n",
    );
    await put(
      "login/same.yaml",
      "version: 1\nregistries: {b.io: {username: ada, password: pw}}\nimages: [a]\n",
    );
    const list = await load(["login/l.yaml", "login/same.yaml"]);
    expect(list.registries.get("a.io")).toEqual({
      login: { username: "ada", passwordFile: join(folder, "login", "pw"), place: "login/l.yaml:5:5" },
    });
    expect(list.registries.get("b.io")?.login).toMatchObject({ username: "ada", password: "pw" });
  });

  it("names both places of logins that contradict, and not what they are", async () => {
    const login = (password: string): string =>
      `version: 1\nregistries:\n  a.io: {username: ada, password: ${password}}\nimages: [a]\n`;
    await put("first.yaml", login("s3cret-1"));
    await put("other.yaml", login("s3cret-2"));
    await put("again.yaml", login("s3cret-1"));
    await expect(load(["first.yaml", "again.yaml"])).resolves.toBeDefined();
    await expect(load(["first.yaml", "other.yaml"])).rejects.toEqual(
      failed("LIST", {
        message: "other.yaml:3:10: the credentials of a.io are others here than at first.yaml:3:10",
        hint: "keep one of them",
      }),
    );
  });

  it("merges settings of one registry, and names both places where they contradict", async () => {
    await put("one.yaml", "version: 1\nregistries: {docker.io: {concurrency: 4}}\nimages: [a]\n");
    await put("two.yaml", "version: 1\nregistries: {index.docker.io: {insecure: true}}\nimages: [b]\n");
    await put("three.yaml", "version: 1\nregistries:\n  docker.io:\n    concurrency: 8\nimages: [c]\n");
    const merged = await load(["one.yaml", "two.yaml"]);
    expect(merged.registries.get("docker.io")).toEqual({ concurrency: 4, insecure: true });
    await expect(load(["one.yaml", "two.yaml", "three.yaml"])).rejects.toThrow(
      failed("LIST", {
        message: "three.yaml:4:5: concurrency of docker.io is 8 here and 4 at one.yaml:2:26",
      }),
    );
  });

  it("tells the problems of all lists together, list by list", async () => {
    await put("z.txt", "Bad\nnginx\nWorse\n");
    await put("y.yaml", "version: 1\nimages: [nginx, Bad]\n");
    await expect(load(["z.txt", "y.yaml"])).rejects.toThrow(
      failed("LIST", {
        message: expect.stringMatching(/^z\.txt:1:1: .*\nz\.txt:3:1: .*\ny\.yaml:2:17: .*$/),
      }),
    );
  });
});

describe("a list that cannot be read", () => {
  const way = "write one (see manifests.example.yaml), name one with -f, or name images on the command line";

  it("is missing", async () => {
    const message = "Cannot read list manifests.yaml: there is no such file";
    await expect(load(["manifests.yaml"])).rejects.toThrow(
      failed("LIST", { message, hint: way, exitCode: 2 }),
    );
  });

  it("is below a file", async () => {
    await put("file", "nginx\n");
    const message = "Cannot read list file/l.yaml: there is no such file";
    await expect(load(["file/l.yaml"])).rejects.toThrow(failed("LIST", { message }));
  });

  it("is a directory", async () => {
    const message = "Cannot read list .: it is a directory";
    await expect(load(["."])).rejects.toThrow(failed("LIST", { message, hint: "name a file in it with -f" }));
  });

  it("is not readable for this user", async () => {
    await put("secret.yaml", "nginx\n");
    await chmod(join(folder, "secret.yaml"), 0o000);
    // Root may read everything, so it steps down for this one.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      const message = "Cannot read list secret.yaml: permission denied";
      await expect(load(["secret.yaml"])).rejects.toThrow(failed("LIST", { message }));
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it("fails while it is read", async () => {
    const broken = new Readable({
      read() {
        this.destroy(Object.assign(new Error("i/o error"), { code: "EIO" }));
      },
    });
    await expect(loadLists(["-"], { stdin: broken, cwd: folder })).rejects.toThrow(
      failed("LIST", { message: "Cannot read list stdin: EIO" }),
    );
  });

  it("is not text", async () => {
    await put("bundle.tar", Buffer.from([0x6f, 0x63, 0x69, 0xff, 0xfe, 0x00]));
    const message = "Cannot read list bundle.tar: it is not text in UTF-8";
    await expect(load(["bundle.tar"])).rejects.toThrow(failed("LIST", { message }));
  });

  it("is too large, which is found out without reading all of it", async () => {
    let given = 0;
    async function* endless() {
      for (;;) {
        given += 1;
        yield Buffer.alloc(1024 * 1024, "# ");
      }
    }
    const message = "Cannot read list stdin: it is larger than 16 MiB";
    await expect(loadLists(["-"], { stdin: endless(), cwd: folder })).rejects.toThrow(
      failed("LIST", { message }),
    );
    expect(given).toBe(maxListBytes / 1024 ** 2 + 1);
  });

  it("is empty", async () => {
    await put("empty.yaml", "");
    await expect(load(["empty.yaml"])).rejects.toThrow(
      failed("LIST", { message: "empty.yaml:1:1: the list is empty" }),
    );
  });
});
