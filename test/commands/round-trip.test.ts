/** The whole way as a user goes it, each command with `--json`: list, bundle, registry, and again. */
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { makeLayer } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let source: TestRegistry;
let target: TestRegistry;
let web: TestIndex;
let api: TestImage;
let bundle: string;

beforeAll(async () => {
  folder = await tempDir();
  [source, target] = await Promise.all([startRegistry(), startRegistry()]);
  const base = await makeLayer({ base: "shared" });
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "web", layers: [base, 2000] }),
    ),
  );
  web = makeIndex(children, { attestations: true });
  api = await makeImage({ seed: "api", layers: [base, 3000] });
  seed(source, "team/web", "1.0", web);
  seed(source, "team/api", "2.0", api);
  const list = `version: 1
images:
  - ${source.host}/team/web:1.0
  - image: ${source.host}/team/api:2.0
    as: renamed/api:stable
`;
  await writeFile(folder.join("manifests.yaml"), list);
  bundle = folder.join("bundle.tar");
  const pulled = await mirror("pull", "--to", "bundle.tar");
  expect(pulled.json).toMatchObject({
    images: [
      { status: "done", digest: web.descriptor.digest },
      { status: "done", digest: api.descriptor.digest },
    ],
    totals: { images: 2, failedImages: 0, unchangedImages: 0 },
    bundle: { path: "bundle.tar", bytes: (await readFile(bundle)).byteLength },
  });
});
afterAll(async () => {
  await Promise.all([source, target, folder].map((each) => each[Symbol.asyncDispose]()));
});

/** Runs a command with `--json` in the folder of the list; its output is exactly one object. */
async function mirror(...args: readonly string[]): Promise<RunResult & { readonly json: unknown }> {
  const result = await runMirror([...args, "--json"], { cwd: folder.path });
  expect(result.code, result.stderr).toBe(0);
  const json: unknown = JSON.parse(result.stdout);
  expect(json).toBeTypeOf("object");
  return { ...result, json };
}

const names = () => [`${source.host}/team/web:1.0`, `${source.host}/team/api:2.0`];

test("plan shows what pull would take, and moves nothing", async () => {
  source.resetLog();
  const { json } = await mirror("plan");
  expect(json).toMatchObject({
    images: [
      { image: names()[0], target: "team/web:1.0", platforms: ["linux/amd64", "linux/arm64"] },
      { image: names()[1], target: "renamed/api:stable" },
    ],
    totals: { images: 2, unchanged: 0 },
  });
  expect(source.count("GET", /\/blobs\//)).toBe(0);
});

test("ls and inspect show the same of the bundle", async () => {
  const [listed, inspected, one] = await Promise.all([
    mirror("ls", "bundle.tar"),
    mirror("inspect", "bundle.tar"),
    mirror("inspect", "bundle.tar", names()[1] ?? ""),
  ]);
  expect(listed.json).toMatchObject({
    images: [
      { image: names()[0], digest: web.descriptor.digest, platforms: ["linux/amd64", "linux/arm64"] },
      { image: names()[1], digest: api.descriptor.digest, platforms: ["linux/amd64"] },
    ],
  });
  expect(inspected.json).toMatchObject({ images: [{ image: names()[0] }, { image: names()[1] }] });
  expect(one.json).toMatchObject({
    images: [
      {
        image: names()[1],
        digest: api.descriptor.digest,
        manifests: [
          {
            platform: "linux/amd64",
            layers: api.layers.map(({ descriptor: { digest, size } }) => ({ digest, size })),
          },
        ],
      },
    ],
  });
});

test("verify proves the bundle", async () => {
  expect((await mirror("verify", "bundle.tar")).json).toMatchObject({ ok: true, images: 2, problems: [] });
});

describe("push", () => {
  test("puts everything under the names of the list, and a second one costs one HEAD an image", async () => {
    const first = await mirror("push", "bundle.tar", "--registry", `${target.host}/mirror`);
    expect(first.json).toMatchObject({
      images: [
        { status: "done", target: "mirror/team/web:1.0" },
        { status: "done", target: "mirror/renamed/api:stable" },
      ],
    });
    expect(incompleteTags(target)).toEqual([]);
    expect(target.manifest("mirror/team/web", "1.0")?.bytes.equals(web.manifest)).toBe(true);
    expect(target.manifest("mirror/renamed/api", "stable")?.bytes.equals(api.manifest)).toBe(true);

    target.resetLog();
    const second = await mirror("push", "bundle.tar", "--registry", `${target.host}/mirror`);
    expect(second.json).toMatchObject({
      images: [{ status: "unchanged" }, { status: "unchanged" }],
      totals: { unchangedImages: 2, blobs: 0, bytesMoved: 0 },
    });
    const asked = target.requests.filter(({ path }) => path !== "/v2/");
    expect(asked.map(({ method }) => method)).toEqual(["HEAD", "HEAD"]);
  });

  test("is proved by verify, also of what somebody took away", async () => {
    const at = ["--registry", `${target.host}/proof`];
    await mirror("push", "bundle.tar", ...at);
    expect((await mirror("verify", "bundle.tar", ...at)).json).toMatchObject({ ok: true });
    const lost = api.layers[1]?.descriptor.digest ?? "";
    target.deleteBlob("proof/renamed/api", lost);
    const result = await runMirror(["verify", "bundle.tar", ...at], { cwd: folder.path });
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`layer ${lost} is not in proof/renamed/api`);
    expect(result.stderr).toContain(names()[1]);
    expect(result.stderr).toContain("1 problem");
  });

  test("takes names from a template", async () => {
    await mirror("push", "bundle.tar", "--registry", target.host, "--name", "{registry}/{repository}");
    const host = source.host.replace(":", "-");
    expect(target.tags(`${host}/team/web`)).toEqual(["1.0"]);
  });
});

test("sync copies straight across, and a second one sends no blob and no manifest", async () => {
  await using other = await startRegistry();
  const first = await mirror("sync", "--registry", other.host);
  expect(first.json).toMatchObject({ images: [{ status: "done" }, { status: "done" }] });
  expect(incompleteTags(other)).toEqual([]);
  source.resetLog();
  other.resetLog();
  await mirror("sync", "--registry", other.host);
  for (const registry of [source, other]) {
    const asked = registry.requests.filter(({ path }) => path !== "/v2/");
    expect(asked.map(({ method }) => method)).toEqual(["HEAD", "HEAD"]);
  }
  const planned = await mirror("plan", "--registry", other.host);
  expect(planned.json).toMatchObject({ images: [{ status: "unchanged" }, { status: "unchanged" }] });
  const listed = await mirror("ls", other.host);
  expect(listed.json).toEqual({
    images: [{ image: `${other.host}/renamed/api:stable` }, { image: `${other.host}/team/web:1.0` }],
  });
});

test("pull takes the platforms of the command line, and says what the index was", async () => {
  const { json } = await mirror("pull", "--platform", "linux/arm64", names()[0] ?? "", "--to", "arm64.tar");
  expect(json).toMatchObject({
    images: [{ digest: web.children[1]?.descriptor.digest, original: web.descriptor.digest, status: "done" }],
  });
});

test("two pulls write the same file, one transfer at a time or many", async () => {
  await mirror("pull", "--to", "one.tar", "--concurrency", "1");
  await mirror("pull", "--to", "many.tar", "--concurrency", "32");
  const [one, many, first] = await Promise.all(
    ["one.tar", "many.tar", "bundle.tar"].map((name) => readFile(folder.join(name))),
  );
  expect(one?.equals(many ?? Buffer.alloc(0))).toBe(true);
  expect(one?.equals(first ?? Buffer.alloc(0))).toBe(true);
});

test("without --json, results are on standard output and all else on standard error", async () => {
  const pulled = await runMirror(["pull", "--to", "plain.tar"], { cwd: folder.path });
  expect([pulled.code, pulled.stdout]).toEqual([0, ""]);
  expect(pulled.stderr).toMatch(/^pulled 2 images$/m);
  const listed = await runMirror(["ls", "plain.tar"], { cwd: folder.path });
  expect(listed.stdout.split("\n").slice(0, 2)).toEqual([
    expect.stringMatching(/^IMAGE +DIGEST +PLATFORMS +SIZE$/),
    expect.stringMatching(/team\/web:1\.0 +sha256:[0-9a-f]{12} +linux\/amd64 linux\/arm64 +\S+ KiB$/),
  ]);
  expect(listed.stderr).toBe("");
});
