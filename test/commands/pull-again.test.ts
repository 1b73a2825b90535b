/** A pull after another one: what is there already is taken over, whoever left it. */
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { eachTest } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const [web, api] = [
  await makeImage({ seed: "web", layers: [300_000, 20_000] }),
  await makeImage({ seed: "api", layers: [200_000, 10_000] }),
];

let registry: TestRegistry;
let folder: TempDir;

eachTest(startWorkplace, (made) => {
  ({ folder, registry } = made);
  seed(registry, "team/web", "1.0", web);
  seed(registry, "team/api", "1.0", api);
});

const name = (image: string): string => `${registry.host}/team/${image}:1.0`;

async function pull(images: readonly string[], to: string, ...flags: readonly string[]): Promise<RunResult> {
  registry.resetLog();
  return await runMirror(["pull", ...images.map(name), "--to", to, ...flags], { cwd: folder.path });
}

const asked = (kind: string): number => registry.count("GET", new RegExp(`/${kind}/`));
const bytesOf = async (file: string): Promise<Buffer> => await readFile(folder.join(file));

/** Lets a layer of an image be missing. */
function lose({ layers }: TestImage): void {
  const digest = layers[1]?.descriptor.digest ?? "";
  registry.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${digest}$`) } });
}

test("the same pull again fetches nothing, and says that nothing has changed", async () => {
  expect((await pull(["web", "api"], "bundle.tar")).code).toBe(0);
  const before = await bytesOf("bundle.tar");
  const again = await pull(["web", "api"], "bundle.tar");
  expect(again.code, again.stderr).toBe(0);
  expect(again.stderr).toContain("pulled 2 images (2 unchanged)");
  expect([asked("blobs"), asked("manifests")]).toEqual([0, 0]);
  expect((await bytesOf("bundle.tar")).equals(before)).toBe(true);
  expect(await readdir(folder.path)).toEqual(["bundle.tar"]);
});

test("the same pull again mends a bundle that is damaged, and fetches only that", async () => {
  await pull(["web", "api"], "bundle.tar");
  const whole = await bytesOf("bundle.tar");
  const damaged = Buffer.from(whole);
  const at = damaged.indexOf(web.layers[0]?.bytes ?? "") + 1000;
  damaged.writeUInt8(damaged.readUInt8(at) ^ 8, at);
  await writeFile(folder.join("bundle.tar"), damaged);
  const again = await pull(["web", "api"], "bundle.tar");
  expect(again.code, again.stderr).toBe(0);
  expect(again.stderr).toMatch(/^note: bundle\.tar holds damaged content: sha256:\w{12} is fetched$/m);
  expect(asked("blobs")).toBe(1);
  expect((await bytesOf("bundle.tar")).equals(whole)).toBe(true);
});

test("a list with one image more fetches that one only, and asks for no manifest that is there", async () => {
  await pull(["web"], "bundle.tar");
  expect((await pull(["web", "api"], "bundle.tar")).code).toBe(0);
  expect([asked("blobs"), asked("manifests")]).toEqual([3, 1]);
  await pull(["web", "api"], "other.tar");
  expect((await bytesOf("bundle.tar")).equals(await bytesOf("other.tar"))).toBe(true);
});

test("--reuse takes content over from other bundles", async () => {
  await pull(["web"], "january.tar");
  await pull(["api"], "february.tar");
  const result = await pull(["web", "api"], "march.tar", "--reuse", "january.tar,february.tar");
  expect(result.code, result.stderr).toBe(0);
  expect([asked("blobs"), asked("manifests")]).toEqual([0, 0]);
  expect(result.stderr).toMatch(/reused 6 /);
  expect((await runMirror(["verify", "march.tar"], { cwd: folder.path })).code).toBe(0);
});

test.each([
  ["none.tar", 1, /Cannot read none\.tar: there is no such file/],
  ["notes.txt", 1, /Cannot read notes\.txt: it is neither a bundle nor an archive of images/],
] as const)("--reuse %s ends before anything is asked for", async (old, code, message) => {
  await writeFile(folder.join("notes.txt"), "milk\n".repeat(500));
  const result = await pull(["web"], "bundle.tar", "--reuse", old);
  expect(result.code).toBe(code);
  expect(result.stderr).toMatch(message);
  expect(registry.requests.filter(({ path }) => path !== "/v2/")).toEqual([]);
  expect(await readdir(folder.path)).toEqual(["notes.txt"]);
});

test("the file behind a link is replaced, and not the link", async () => {
  await mkdir(folder.join("disk"));
  await symlink("disk/bundle.tar", folder.join("link.tar"));
  expect((await pull(["web"], "link.tar")).code).toBe(0);
  expect((await pull(["web", "api"], "link.tar")).code).toBe(0);
  expect(asked("blobs")).toBe(3);
  expect((await lstat(folder.join("link.tar"))).isSymbolicLink()).toBe(true);
  expect(await readdir(folder.join("disk"))).toEqual(["bundle.tar"]);
});

test("--fresh fetches everything, whatever is there", async () => {
  await pull(["web"], "bundle.tar");
  const result = await pull(["web"], "bundle.tar", "--fresh");
  expect(result.code, result.stderr).toBe(0);
  expect([asked("blobs"), asked("manifests")]).toEqual([3, 1]);
});

test("a file of the same name that is no bundle is replaced in the end, and told of", async () => {
  await writeFile(folder.join("bundle.tar"), "milk\n".repeat(500));
  const result = await pull(["web"], "bundle.tar");
  expect(result.code, result.stderr).toBe(0);
  expect(result.stderr).toContain("note: nothing is taken over from the bundle.tar that is there");
});

test("what --keep-going has left out is completed by the same command, which fetches the rest only", async () => {
  lose(api);
  const first = await pull(["web", "api"], "bundle.tar", "--keep-going", "--json");
  expect(first.code, first.stderr).toBe(3);
  expect(JSON.parse(first.stdout)).toMatchObject({
    images: [
      { image: name("web"), status: "done" },
      { image: name("api"), status: "failed", error: { code: "NOT_FOUND" } },
    ],
  });
  const inside = await runMirror(["ls", "bundle.tar"], { cwd: folder.path });
  expect(inside.stdout).toContain(name("web"));
  expect(inside.stdout).not.toContain(name("api"));
  registry.clearFaults();
  const second = await pull(["web", "api"], "bundle.tar", "--keep-going");
  expect(second.code, second.stderr).toBe(0);
  expect(asked("blobs")).toBe(3);
  await pull(["web", "api"], "other.tar");
  expect((await bytesOf("bundle.tar")).equals(await bytesOf("other.tar"))).toBe(true);
});

test("without --keep-going the earlier bundle stays, and the next run goes on", async () => {
  await pull(["web"], "bundle.tar");
  const before = await bytesOf("bundle.tar");
  lose(api);
  const failed = await pull(["web", "api"], "bundle.tar");
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain("bundle.tar is still the earlier one; run the same command again");
  expect((await bytesOf("bundle.tar")).equals(before)).toBe(true);
  registry.clearFaults();
  expect((await pull(["web", "api"], "bundle.tar")).code).toBe(0);
  expect(asked("blobs")).toBe(1);
});

test("a part that nobody has noted anything about is replaced, in one line", async () => {
  await writeFile(folder.join("bundle.tar.part"), "somebody else's");
  const result = await pull(["web"], "bundle.tar");
  expect(result.code, result.stderr).toBe(0);
  expect(result.stderr).toMatch(
    /^note: bundle\.tar: the pull starts afresh, since the journal of .* is gone$/m,
  );
  expect(await readdir(folder.path)).toEqual(["bundle.tar"]);
});
