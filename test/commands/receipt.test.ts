/** Receipts: what a registry holds, written down. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { receiptSchema } from "../../src/bundle/receipt.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { dockerSaveEntries, tarOf } from "../support/archives.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeArtifact, makeImage, makeIndex, seed } from "../support/images.ts";
import { eachTest } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const amd64 = await makeImage({ seed: "web", layers: [3000, 2000] });
const arm64 = await makeImage({ seed: "web", platform: "linux/arm64", layers: [1000] });
const web = makeIndex([amd64, arm64]);
const api = await makeImage({ seed: "api", layers: [1500] });
const chart = makeArtifact({
  configType: "application/vnd.cncf.helm.config.v1+json",
  config: "{}",
  files: [{ mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", bytes: Buffer.from("chart") }],
});

interface Repository {
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly manifests: Readonly<Record<string, number>>;
  readonly blobs: Readonly<Record<string, number>>;
}

let registry: TestRegistry;
let folder: TempDir;

eachTest(startWorkplace, (made) => {
  ({ folder, registry } = made);
  seed(registry, "team/web", "1.0", web);
  seed(registry, "team/web", "latest", web);
  seed(registry, "team/api", "2.0", api);
  seed(registry, "charts/shop", "0.3.0", chart);
  registry.resetLog();
});

const run = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(["receipt", "--registry", registry.host, ...args], { cwd: folder.path });

async function receipt(...args: readonly string[]): Promise<readonly Repository[]> {
  const result = await run(...args);
  expect(result.code, result.stderr).toBe(0);
  return (JSON.parse(result.stdout) as { readonly repositories: readonly Repository[] }).repositories;
}

test("says what every repository holds: tags, manifests and blobs with their sizes", async () => {
  const { stdout } = await run();
  expect(JSON.parse(stdout)).toMatchObject({ kind: "mirror-receipt", version: 1, registry: registry.host });
  const found = await receipt();
  expect(found.map(({ name }) => name)).toEqual(["charts/shop", "team/api", "team/web"]);
  const sizes = (...parts: readonly { readonly digest: string; readonly size: number }[]) =>
    Object.fromEntries(parts.map(({ digest, size }) => [digest, size]));
  expect(found[2]).toEqual({
    name: "team/web",
    tags: { "1.0": web.descriptor.digest, latest: web.descriptor.digest },
    manifests: sizes(web.descriptor, amd64.descriptor, arm64.descriptor),
    blobs: sizes(
      ...[amd64, arm64]
        .flatMap(({ config, layers }) => [config, ...layers])
        .map(({ descriptor }) => descriptor),
    ),
  });
});

test("reads manifests only, each child once, and writes nothing to the registry", async () => {
  // Two indexes that lead to the same manifest.
  seed(registry, "team/web", "1.1", makeIndex([amd64, arm64], { seed: "again" }));
  await receipt();
  expect(registry.requests.filter(({ method }) => method !== "GET" && method !== "HEAD")).toEqual([]);
  expect(registry.count("GET", /\/blobs\//) + registry.count("HEAD", /\/blobs\//)).toBe(0);
  expect(registry.count("GET", new RegExp(`manifests/${amd64.descriptor.digest}`))).toBe(1);
});

test("is the same bytes for the same content, in whatever order it came and is answered", async () => {
  const first = await run();
  await using other = await startRegistry({ port: 0 });
  seed(other, "charts/shop", "0.3.0", chart);
  seed(other, "team/api", "2.0", api);
  seed(other, "team/web", "latest", web);
  seed(other, "team/web", "1.0", makeIndex([amd64, arm64]));
  const second = await runMirror(["receipt", "--registry", other.host]);
  expect(second.stdout.replaceAll(other.host, registry.host)).toBe(first.stdout);
  const { repositories } = JSON.parse(first.stdout) as { readonly repositories: readonly Repository[] };
  for (const found of repositories.flatMap(({ tags, manifests, blobs }) => [tags, manifests, blobs]))
    expect(Object.keys(found)).toEqual(Object.keys(found).sort());
  expect(first.stdout).toBe(`${JSON.stringify(JSON.parse(first.stdout), undefined, 2)}\n`);
});

test("of a registry with a prefix is of what lies below it", async () => {
  seed(registry, "teamwork/api", "1.0", api);
  const { stdout } = await runMirror(["receipt", "--registry", `${registry.host}/team`]);
  const found = JSON.parse(stdout) as {
    readonly registry: string;
    readonly repositories: readonly Repository[];
  };
  expect(found.registry).toBe(`${registry.host}/team`);
  expect(found.repositories.map(({ name }) => name)).toEqual(["team/api", "team/web"]);
});

test("with a list asks for what it names, without the catalog, and leaves out what is not there", async () => {
  await writeFile(
    folder.join("list.txt"),
    ["registry.example/team/web:1.0", "registry.example/team/api:9.9", "registry.example/team/none:1.0"].join(
      "\n",
    ),
  );
  const found = await receipt("-f", "list.txt");
  expect(found.map(({ name, tags }) => [name, Object.keys(tags)])).toEqual([["team/web", ["1.0"]]]);
  expect(registry.count("GET", /_catalog|tags\/list/)).toBe(0);
});

test("takes archives of other tools, as a file and from a pipe, and never one without a name", async () => {
  const saved = await tarOf(dockerSaveEntries([{ image: api, tags: [] }]));
  await writeFile(folder.join("saved.tar"), saved);
  const args = ["receipt", "--registry", registry.host];
  const runs = async (...flags: readonly string[]): Promise<readonly RunResult[]> => [
    await runMirror([...args, "saved.tar", ...flags], { cwd: folder.path }),
    await runMirror([...args, "-", ...flags], { stdin: saved }),
  ];
  for (const result of await runs()) {
    expect([result.code, result.stdout]).toEqual([2, ""]);
    expect(result.stderr).toContain("--tag");
  }
  for (const result of await runs("--tag", "team/api:2.0")) {
    expect(result.code, result.stderr).toBe(0);
    const found = JSON.parse(result.stdout) as { readonly repositories: readonly Repository[] };
    expect(found.repositories.map(({ name }) => name)).toEqual(["team/api"]);
  }
});

test("with a bundle asks for its images", async () => {
  await runMirror(["pull", `${registry.host}/team/api:2.0`, "--to", "bundle.tar"], { cwd: folder.path });
  const found = await receipt("bundle.tar");
  expect(found.map(({ name, tags }) => [name, tags])).toEqual([
    ["team/api", { "2.0": api.descriptor.digest }],
  ]);
});

test("--to writes a file, whole or not at all, and --json tells what is in it", async () => {
  const { stdout } = await run();
  const written = await run("--to", "receipt.json", "--json");
  expect(written.code, written.stderr).toBe(0);
  expect(JSON.parse(written.stdout)).toMatchObject({
    receipt: { path: "receipt.json", registry: registry.host },
    repositories: 3,
    tags: 4,
    manifests: 5,
  });
  expect(await readFile(folder.join("receipt.json"), "utf8")).toBe(stdout);
  const failed = await run("--to", "no/receipt.json");
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain("there is no folder no");
  expect(await readdir(folder.path)).toEqual(["receipt.json"]);
});

test("a registry that goes away leaves the receipt of before as it was", async () => {
  await run("--to", "receipt.json");
  const before = await readFile(folder.join("receipt.json"), "utf8");
  registry.fault("status", { status: 501, match: { path: /team\/web\/manifests/ } });
  const failed = await run("--to", "receipt.json");
  expect([failed.code, await readFile(folder.join("receipt.json"), "utf8")]).toEqual([1, before]);
  expect(await readdir(folder.path)).toEqual(["receipt.json"]);
});

test("--json without --to is the receipt", async () => {
  const { stdout } = await run("--json");
  expect(JSON.parse(stdout)).toEqual(JSON.parse((await run()).stdout));
});

test("what cannot be read is left out with a warning", async () => {
  registry.fault("status", { status: 403, match: { path: /team\/api\/tags/ } });
  registry.deleteManifest("team/web", arm64.descriptor.digest);
  const result = await run();
  expect(result.code, result.stderr).toBe(0);
  expect(result.stderr).toMatch(/^warning: .*team\/api.*left out of the receipt/m);
  const { repositories } = JSON.parse(result.stdout) as { readonly repositories: readonly Repository[] };
  expect(repositories.map(({ name }) => name)).toEqual(["charts/shop", "team/web"]);
  expect(repositories[1]?.manifests).not.toHaveProperty([arm64.descriptor.digest]);
});

test("where nothing can be read there is no receipt", async () => {
  registry.fault("status", { status: 403, match: { path: /tags\/list/ } });
  const result = await run();
  expect([result.code, result.stdout]).toEqual([1, ""]);
});

test("where there is no catalog, a list is asked for", async () => {
  registry.fault("no-catalog");
  const result = await run();
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/offers no catalog.*\n.*hint: say what to look for: -f LIST, or a bundle/);
});

test("an empty registry has an empty receipt", async () => {
  await using empty = await startRegistry();
  const { stdout } = await runMirror(["receipt", "--registry", empty.host]);
  expect(stdout).toBe(
    `${JSON.stringify({ kind: "mirror-receipt", version: 1, registry: empty.host, repositories: [] }, undefined, 2)}\n`,
  );
});

test.each([
  ['{"kind": "other"}', "it is JSON, and not a receipt"],
  ['{"kind": "mirror-receipt", "version": 2}', "it has format version 2"],
  ['{"kind": "mirror-receipt", "version": 1, "registry": "r"}', "repositories: "],
  ['{"kind": "mirror-receipt", ', "it is not JSON"],
])("%s is refused as a base", async (text, message) => {
  await writeFile(folder.join("receipt.json"), text);
  const args = ["pull", `${registry.host}/team/api:2.0`, "--to", "b.tar", "--base", "receipt.json"];
  const result = await runMirror(args, { cwd: folder.path });
  expect(result.code).toBe(1);
  expect(result.stderr).toContain(`Cannot read the receipt receipt.json: ${message}`);
  expect(registry.count("GET", /manifests/)).toBe(0);
});

test("the JSON Schema that is shipped is that of this version (make it with: node test/tools/make-schema.ts)", async () => {
  const text = await readFile(new URL("../../receipt.schema.json", import.meta.url), "utf8");
  expect(text).toBe(`${JSON.stringify(receiptSchema(), null, 2)}\n`);
});
