/** A login in front of a host, `user:password@host`, is told in no message, wherever it stands. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const login = "hidden-user:s3cret-word@";
const url = `https://${login}web.example/x`;

let folder: TempDir;
let registry: TestRegistry;

beforeAll(async () => {
  folder = await tempDir();
  registry = await startRegistry();
  seed(registry, "team/app", "1.0", await makeImage());
  const made = await run(["pull", `${registry.host}/team/app:1.0`, "--to", "bundle.tar"]);
  expect(made.code, made.stderr).toBe(0);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<RunResult> {
  return await runMirror(args, { cwd: folder.path, env: { DEBUG: "1", ...env } });
}

function expectNothingTold({ stdout, stderr }: RunResult): void {
  expect(`${stdout}${stderr}`).not.toMatch(/hidden-user|s3cret|-word/);
}

/** A command line; `{host}` is the registry. */
const commands: readonly string[] = [
  `pull ${login}{host}/team/app:1.0 --to x.tar`,
  `pull HTTPS://${login}{host}/team/app --to x.tar --json`,
  `pull hidden-user:s3cret/-word@{host}/team/app --to x.tar`,
  `pull hidden-user:s3cret@-word@{host}/team/app --to x.tar`,
  `pull {host}/team/app:1.0 --to ${url}.tar`,
  `pull {host}/team/app:1.0 --to x.tar --plain-http ${login}{host}`,
  `pull {host}/team/app:1.0 --to x.tar --ca-file=${url}.pem`,
  `push bundle.tar --registry ${login}{host} --json`,
  `push bundle.tar ${login}{host}`,
  `inspect ${login}{host}`,
  `ls ${login}{host}/team/app --json`,
  `login ${login}{host} -u x`,
  url,
];

test.each(commands)("mirror %s", async (line) => {
  const result = await run(line.replaceAll("{host}", registry.host).split(" "));
  expect(result.code).toBe(2);
  expectNothingTold(result);
});

test.each([
  ["MIRROR_REGISTRY", `${login}h`],
  ["MIRROR_REGISTRY", url],
  ["ALL_PROXY", `http://${login}`],
  ["HTTPS_PROXY", "http://hidden-user:1/s3cret-word@127.0.0.1:1"],
])("the variable %s with %s", async (name, value) => {
  const result = await run(["push", "bundle.tar"], { MIRROR_REGISTRY: "registry.invalid", [name]: value });
  expect(result.code).toBe(2);
  expectNothingTold(result);
});

test.each([
  ["plain text", `${login}h/app\nhttps://${login}h/app\n${login}h/app two words\na/b:1\nc/d:1\ne/f:1`],
  [
    "images",
    [
      "version: 1",
      "images:",
      `  - ${login}h/app`,
      `  - ${url}`,
      "  - hidden-user: s3cret-word@h/app",
      `  - {image: "${login}h/app", as: "${login}h/app", platforms: ["${login}h"], "${login}h": x}`,
    ].join("\n"),
  ],
  [
    "registries",
    [
      "version: 1",
      "images: [a/b]",
      "registries:",
      `  ${login}h: {plainHttp: true}`,
      `  docker.io: {mirrors: ["${login}h/x", "${url}"], caFile: {a: "${login}h"}}`,
      `${login}h: x`,
    ].join("\n"),
  ],
  ["a key twice", `version: 1\nimages: [a/b]\nregistries:\n  ${login}h: {}\n  ${login}h: {}\n`],
  ["an alias", `version: 1\nimages:\n  - *${login}h\n`],
])("a list: %s", async (_, text) => {
  await writeFile(folder.join("list"), text);
  const result = await run(["plan", "-f", "list"]);
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("list:");
  expectNothingTold(result);
});

test.each([
  ["a redirect", 307, { location: url }],
  ["a redirect to nothing", 307, { location: `https://${login}` }],
  ["a token service", 401, { "www-authenticate": `Bearer realm="${url}",service="s"` }],
  ["a token service at nothing", 401, { "www-authenticate": `Bearer realm="https://${login}",service="s"` }],
  ["an error", 400, {}],
])("what a registry answers: %s", async (_, status, headers) => {
  await using odd = await startRegistry();
  odd.fault("status", { status, headers, body: `see ${url}`, match: { path: /manifests|blobs/ } });
  for (const args of [
    ["inspect", `${odd.host}/team/app:1.0`],
    ["push", "bundle.tar", "--registry", odd.host],
  ]) {
    const result = await run(args);
    expect(result.code).not.toBe(0);
    expectNothingTold(result);
  }
});
