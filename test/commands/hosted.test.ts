/** Pull, push and sync of one list against registries in the manners of hosted ones, which nobody can tell by name. */
import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type HostedKind,
  type HostedOptions,
  hostedCredential,
  hostedKinds,
  startHosted,
} from "../registry/hosted.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { dockerSaveEntries, tarOf } from "../support/archives.ts";
import { type RunOptions, type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const MiB = 1024 * 1024;
let folder: TempDir;
let huge: TestImage;
let large: TestImage;
let small: TestIndex;

beforeAll(async () => {
  folder = await tempDir();
  // Over 64 MiB blobs go in chunks unasked; over 20 MB some registries take none whole.
  large = await makeImage({ seed: "large", layers: [await makeRandomLayer("large", 21 * MiB), 5000] });
  huge = await makeImage({ seed: "huge", layers: [await makeRandomLayer("huge", 66 * MiB)] });
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map(async (platform) => await makeImage({ platform, layers: [2000] })),
  );
  small = makeIndex(children, { attestations: true });
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** The kinds that have rules for chunks, and so are met only by blobs that go in chunks. */
const imageFor = (kind: HostedKind): TestImage => (["ecr", "ghcr", "gar"].includes(kind) ? huge : large);
/** What shows that the manners of a kind were met: the status of an answer to a request with content. */
const encounters: Readonly<Partial<Record<HostedKind, number>>> = { ecr: 201, ghcr: 416, gar: 405, acr: 413 };

/** A hosted registry that has the images of the list. */
async function seeded(kind: HostedKind, options: HostedOptions = {}): Promise<TestRegistry> {
  const registry = await startHosted(kind, options);
  seed(registry, "team/large", "1.0", imageFor(kind));
  seed(registry, "team/small", "2.0", small);
  return registry;
}

/** Runs the program with the credentials of a kind for these registries. */
async function mirror(
  kind: HostedKind,
  registries: readonly TestRegistry[],
  args: readonly string[],
  options: Pick<RunOptions, "stdin"> = {},
): Promise<RunResult> {
  const { username, password } = hostedCredential(kind);
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  const auths = Object.fromEntries(registries.map(({ host }) => [host, { auth }]));
  const config = folder.join(`config-${kind}`);
  await mkdir(config, { recursive: true });
  await writeFile(folder.join(`config-${kind}/config.json`), JSON.stringify({ auths }));
  const trusted = registries.flatMap(({ host }) => ["--plain-http", host]);
  return await runMirror([...args, ...trusted], {
    ...options,
    cwd: folder.path,
    env: { DOCKER_CONFIG: config },
  });
}

function expectAll(target: TestRegistry, kind: HostedKind): void {
  expect(target.manifest("team/large", "1.0")?.digest).toBe(imageFor(kind).descriptor.digest);
  expect(target.manifest("team/small", "2.0")?.digest).toBe(small.descriptor.digest);
  expect(incompleteTags(target)).toEqual([]);
}

const repositories = ["team/large", "team/small"];

describe.each(hostedKinds)("%s", (kind) => {
  test("is pulled from, pushed to and synced with", async () => {
    await using source = await seeded(kind, { repositories });
    await using target = await startHosted(kind, { repositories });
    await using other = await startHosted(kind, { repositories });
    const list = folder.join(`${kind}.txt`);
    await writeFile(list, `${source.host}/team/large:1.0\n${source.host}/team/small:2.0\n`);
    const bundle = folder.join(`${kind}.tar`);
    const pulled = await mirror(kind, [source], ["pull", "-f", list, "--to", bundle]);
    expect(pulled.code, pulled.stderr).toBe(0);
    const pushed = await mirror(kind, [target], ["push", bundle, "--registry", target.host]);
    expect(pushed.code, pushed.stderr).toBe(0);
    expectAll(target, kind);
    const synced = await mirror(kind, [source, other], ["sync", "-f", list, "--registry", other.host]);
    expect(synced.code, synced.stderr).toBe(0);
    expectAll(other, kind);
    for (const said of [pulled, pushed, synced])
      expect(said.stderr + said.stdout).not.toContain(hostedCredential(kind).password);
    for (const { origin, headers } of [source, target, other].flatMap((registry) => registry.requests))
      if (origin === "storage") expect(headers.authorization).toBeUndefined();
    const met = encounters[kind];
    const sent = target.requests.filter(({ path }) => path.includes("uploads"));
    if (met !== undefined) expect(sent.map(({ status }) => status)).toContain(met);
    // What was given up was cancelled too.
    await expect.poll(() => target.openUploads + other.openUploads).toBe(0);
  }, 60_000);

  test("takes an archive from a pipe, whose digests come last", async () => {
    await using target = await startHosted(kind, { repositories });
    const image = imageFor(kind);
    const stdin = await tarOf(dockerSaveEntries([{ image, tags: null }]));
    const args = ["push", "-", "--tag", "team/large:1.0", "--registry", target.host];
    const pushed = await mirror(kind, [target], args, { stdin });
    expect(pushed.code, pushed.stderr).toBe(0);
    expect(target.tags("team/large")).toEqual(["1.0"]);
    expect(incompleteTags(target)).toEqual([]);
    await expect.poll(() => target.openUploads).toBe(0);
  }, 60_000);
});

test("Docker Hub's limit is waited for, and HEAD does not count", async () => {
  await using source = await seeded("docker-hub", { pulls: 2, refusals: 2 });
  const list = folder.join("limited.txt");
  await writeFile(list, `${source.host}/team/small:2.0\n`);
  const pulled = await mirror("docker-hub", [source], ["pull", "-f", list, "--to", folder.join("l.tar")]);
  expect(pulled.code, pulled.stderr).toBe(0);
  expect(source.requests.filter(({ status }) => status === 429)).toHaveLength(2);
});

test("ECR says that a repository does not exist before anything is sent", async () => {
  await using source = await seeded("zot");
  await using target = await startHosted("ecr", { repositories: ["team/small"] });
  const args = ["sync", `${source.host}/team/large:1.0`, "--registry", target.host];
  const synced = await mirror("ecr", [source, target], args);
  expect(synced.code).toBe(1);
  expect(synced.stderr).toContain("RepositoryNotFoundException");
  expect(synced.stderr).toContain("create the repository team/large");
  expect(target.requests.reduce((sum, { bytesIn }) => sum + bytesIn, 0)).toBe(0);
});
