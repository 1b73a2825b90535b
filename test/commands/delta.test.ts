/** Deltas: made against an earlier bundle or a receipt, and pushed to a registry that has the rest. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const shared = await makeRandomLayer("shared", 400_000);
const common = await makeRandomLayer("common", 100_000);
const october = {
  web: await makeImage({ seed: "web 1", layers: [shared, 20_000] }),
  api: await makeImage({ seed: "api", layers: [shared, common] }),
};
const november = {
  ...october,
  web: await makeImage({ seed: "web 2", layers: [shared, 30_000] }),
  // What it needs is in other repositories.
  job: makeIndex([
    await makeImage({ seed: "job", layers: [common, 5_000] }),
    await makeImage({ seed: "job", platform: "linux/arm64", layers: [common, shared] }),
  ]),
};

let source: TestRegistry;
let target: TestRegistry;
let folder: TempDir;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  await publish(october, "october.tar");
  await pullDelta("october.tar");
});
beforeEach(async () => {
  target = await startRegistry();
  source.clearFaults();
  source.resetLog();
});
afterEach(async () => {
  await target[Symbol.asyncDispose]();
});

const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path });
const to = (): readonly string[] => ["--registry", target.host];

async function done(...args: readonly string[]): Promise<RunResult> {
  const result = await mirror(...args);
  expect(result.code, `mirror ${args.join(" ")}\n${result.stderr}`).toBe(0);
  return result;
}

/** Lets the source have these images, and pulls all of them. */
async function publish(
  images: Readonly<Record<string, Parameters<typeof seed>[3]>>,
  bundle: string,
  ...flags: readonly string[]
): Promise<RunResult> {
  for (const [name, image] of Object.entries(images)) seed(source, `team/${name}`, "1.0", image);
  const names = Object.keys(images).map((name) => `${source.host}/team/${name}:1.0`);
  source.resetLog();
  return await done("pull", ...names, "--to", bundle, ...flags);
}

const pullDelta = async (base: string, name = "november.tar"): Promise<RunResult> =>
  await publish(november, name, "--base", base);

/** Everything that a registry holds, as its receipt says it; the host left out. */
async function holdings({ host }: TestRegistry): Promise<unknown> {
  const { repositories } = JSON.parse((await done("receipt", "--registry", host)).stdout) as {
    readonly repositories: unknown;
  };
  return repositories;
}

const posts = (): number => target.count("POST", /./);
const writes = (): number => posts() + target.count("PUT", /./) + target.count("PATCH", /./);
const digest = (image: TestImage, layer: number): string => image.layers[layer]?.descriptor.digest ?? "";

describe("a delta", () => {
  test("leaves out what an earlier bundle has, and fetches only the rest", async () => {
    const result = await pullDelta("october.tar", "first.tar");
    expect(result.stderr).toMatch(
      /^note: first\.tar is a delta: it leans on 3 blobs \(.*\) of october\.tar$/m,
    );
    // web: config and one layer; job: two configs and one layer.
    expect(source.count("GET", /\/blobs\//)).toBe(5);
    expect(source.count("GET", /team\/api\/manifests/)).toBe(0);
    const { size } = await stat(folder.join("first.tar"));
    expect(size).toBeLessThan(35_000 * 1.01 + 40_000);
  });

  test("says in --json what it leaves out", async () => {
    const { stdout } = await publish(november, "told.tar", "--base", "october.tar", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      images: [
        { leftOut: { blobs: 1, bytes: shared.descriptor.size } },
        { leftOut: { blobs: 3 } },
        { leftOut: { blobs: 2 } },
      ],
      bundle: {
        base: {
          blobs: 3,
          sources: [{ kind: "bundle", name: "october.tar", fingerprint: expect.stringMatching(/^sha256:/) }],
        },
      },
    });
  });

  test("is the same bytes for the same plan and base", async () => {
    await publish(november, "again.tar", "--base", "october.tar");
    const [one, other] = await Promise.all(
      ["november.tar", "again.tar"].map(async (name) => await readFile(folder.join(name))),
    );
    expect(one?.equals(other ?? Buffer.alloc(0))).toBe(true);
  });

  test("with nothing to leave out is a plain bundle", async () => {
    const other = { tool: await makeImage({ seed: "tool", layers: [1000] }) };
    const result = await publish(other, "tool.tar", "--base", "october.tar");
    expect(result.stderr).toMatch(/^note: tool\.tar is whole: october\.tar has nothing of it$/m);
    await publish(other, "plain.tar");
    const [one, plain] = await Promise.all(
      ["tool.tar", "plain.tar"].map(async (name) => await readFile(folder.join(name))),
    );
    expect(one?.equals(plain ?? Buffer.alloc(0))).toBe(true);
  });

  test("does not replace its base", async () => {
    const result = await mirror(
      "pull",
      `${source.host}/team/web:1.0`,
      "--to",
      "october.tar",
      "--base",
      "./october.tar",
    );
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("the delta would replace what it leans on");
    await done("verify", "october.tar");
  });

  test("offers Docker only the images that are complete in it", async () => {
    const bytes = await readFile(folder.join("november.tar"));
    expect(bytes.includes('"RepoTags"')).toBe(false);
    const tool = await makeImage({ seed: "tool", layers: [1000] });
    await publish({ ...november, tool }, "with-tool.tar", "--base", "october.tar");
    const found = (await readFile(folder.join("with-tool.tar")))
      .toString("latin1")
      .match(/"RepoTags":\["[^"]+"\]/g);
    expect(found).toEqual([`"RepoTags":["${source.host}/team/tool:1.0"]`]);
  });

  test("of a pull that was interrupted goes on as any other", async () => {
    const lost = digest(november.web, 1);
    source.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${lost}$`) } });
    for (const [name, image] of Object.entries(november)) seed(source, `team/${name}`, "1.0", image);
    const names = Object.keys(november).map((name) => `${source.host}/team/${name}:1.0`);
    const args = ["pull", ...names, "--to", "interrupted.tar", "--base", "october.tar"];
    expect((await mirror(...args)).code).toBe(1);
    source.clearFaults();
    source.resetLog();
    await done(...args);
    expect(source.count("GET", /\/blobs\//)).toBe(1);
    await done("verify", "interrupted.tar", "--base", "october.tar");
  });

  test("leaves out of its base what --keep-going leaves out", async () => {
    const lost = digest(november.web, 1);
    source.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${lost}$`) } });
    for (const [name, image] of Object.entries(november)) seed(source, `team/${name}`, "1.0", image);
    const names = ["web", "api"].map((name) => `${source.host}/team/${name}:1.0`);
    const flags = ["--to", "kept.tar", "--base", "october.tar", "--keep-going"];
    expect((await mirror("pull", ...names, ...flags)).code).toBe(3);
    const { stdout } = await done("ls", "kept.tar", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ images: [{ image: names[1] }], base: { blobs: 3 } });
    await done("verify", "kept.tar", "--base", "october.tar");
  });

  test("may lean on a delta, and then names what that one leans on", async () => {
    const web = await makeImage({ seed: "web 3", layers: [shared, 7_000] });
    await publish({ ...november, web }, "december.tar", "--base", "november.tar");
    expect((await done("ls", "december.tar")).stdout).toMatch(
      /blobs \(.*\) of (october|november)\.tar, (october|november)\.tar$/m,
    );
    expect((await mirror("verify", "december.tar", "--base", "november.tar")).stderr).toMatch(
      /is not in november\.tar; october\.tar had it/,
    );
    await done("verify", "december.tar", "--base", "november.tar", "--base", "october.tar");
    for (const bundle of ["october.tar", "november.tar", "december.tar"]) await done("push", bundle, ...to());
    expect(target.manifest("team/web", "1.0")?.digest).toBe(web.descriptor.digest);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("is planned by mirror plan --base", async () => {
    for (const [name, image] of Object.entries(november)) seed(source, `team/${name}`, "1.0", image);
    const names = Object.keys(november).map((name) => `${source.host}/team/${name}:1.0`);
    const { stdout } = await done("plan", ...names, "--base", "october.tar");
    expect(stdout).toMatch(/left out: 3 blobs \(.*\) of october\.tar/);
  });

  test("is told for one by ls and inspect", async () => {
    const listed = await done("ls", "november.tar");
    expect(listed.stdout).toMatch(/^november\.tar is a delta: it leans on 3 blobs \(.*\) of october\.tar$/m);
    expect(listed.stdout).toContain("linux/amd64 linux/arm64");
    const inspected = await done("inspect", "november.tar");
    expect(inspected.stdout).toMatch(/^november\.tar is a delta: /m);
    expect(inspected.stdout).toContain(", left out of the delta");
    const whole = await done("inspect", "october.tar");
    expect(whole.stdout).not.toContain("delta");
  });
});

describe("verify", () => {
  test("proves what is in a delta, and says what is not", async () => {
    const { stdout } = await done("verify", "november.tar");
    expect(stdout).toMatch(/^november\.tar is whole as a delta: 3 images/m);
    expect(stdout).toMatch(/^it leans on 3 blobs \(.*\) of october\.tar; --base/m);
  });

  test("--base reads the base too", async () => {
    const { stdout } = await done("verify", "november.tar", "--base", "october.tar", "--json");
    const { blobs } = JSON.parse(stdout) as { readonly blobs: number };
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, base: { proved: true, blobs: 3 } });
    const alone = JSON.parse((await done("verify", "november.tar", "--json")).stdout) as {
      readonly blobs: number;
    };
    expect(blobs).toBe(alone.blobs + 3);
  });

  test("--base finds damage in the base", async () => {
    const bytes = await readFile(folder.join("october.tar"));
    const at = bytes.indexOf(shared.bytes) + 5_000;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await writeFile(folder.join("damaged.tar"), bytes);
    const result = await mirror("verify", "november.tar", "--base", "damaged.tar");
    expect(result.code).toBe(4);
    expect(result.stderr).toContain("what it leans on is not");
    expect(result.stderr).toContain(shared.descriptor.digest);
    expect(result.stderr).toContain("(in damaged.tar)");
    await done("verify", "november.tar");
  });

  test("--base with another bundle names what is missing and which bundle had it", async () => {
    await publish({ web: november.web }, "other.tar");
    const result = await mirror("verify", "november.tar", "--base", "other.tar");
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`${common.descriptor.digest} is not in other.tar; october.tar had it`);
    expect(result.stderr).not.toContain(`${shared.descriptor.digest} is not in`);
    expect(result.stderr).toContain("name every bundle that it leans on with --base");
  });

  test("--registry asks for all of it", async () => {
    await done("push", "october.tar", ...to());
    await done("push", "november.tar", ...to());
    await done("verify", "november.tar", ...to());
    target.deleteBlob("team/job", common.descriptor.digest);
    const result = await mirror("verify", "november.tar", ...to());
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`${common.descriptor.digest} is not in team/job`);
  });

  test("--base wants a bundle, not a receipt", async () => {
    await done("receipt", ...to(), "--to", "receipt.json");
    const result = await mirror("verify", "november.tar", "--base", "receipt.json");
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("it is a receipt, which holds no content");
  });
});

describe("push", () => {
  test("after the earlier bundle ends as a push of the whole does", async () => {
    await done("push", "october.tar", ...to());
    target.resetLog();
    const result = await done("push", "november.tar", ...to());
    // Nothing that is left out is sent, and what is in another repository is mounted.
    expect(target.requests.reduce((sum, { bytesIn }) => sum + bytesIn, 0)).toBeLessThan(45_000);
    expect(result.stderr).toMatch(/mounted 2 /);
    await using whole = await startRegistry();
    await publish(november, "whole.tar");
    await done("push", "october.tar", "--registry", whole.host);
    await done("push", "whole.tar", "--registry", whole.host);
    expect(await holdings(target)).toEqual(await holdings(whole));
    expect(incompleteTags(target)).toEqual([]);
    target.resetLog();
    await done("push", "november.tar", ...to());
    expect(target.requests.filter(({ path }) => path !== "/v2/").map(({ method }) => method)).toEqual([
      "HEAD",
      "HEAD",
      "HEAD",
    ]);
  });

  test("to an empty registry is refused before anything is written, with all that is missing", async () => {
    const result = await mirror("push", "november.tar", ...to(), "--json");
    expect(result.code).toBe(1);
    expect(writes()).toBe(0);
    const { error, missing } = JSON.parse(result.stdout) as {
      readonly error: { readonly code: string; readonly hint: string };
      readonly missing: readonly { readonly digest: string; readonly repository: string }[];
    };
    expect(error).toMatchObject({
      code: "NOT_FOUND",
      hint: `push what it leans on first: mirror push october.tar --registry ${target.host}`,
    });
    const needed = [
      ["team/web", [shared.descriptor.digest]],
      [
        "team/api",
        [october.api.config.descriptor.digest, shared.descriptor.digest, common.descriptor.digest],
      ],
      ["team/job", [common.descriptor.digest, shared.descriptor.digest]],
    ] as const;
    const names = (list: readonly string[]): readonly string[] => [...list].sort();
    expect(names(missing.map(({ repository, digest: blob }) => `${repository} ${blob}`))).toEqual(
      names(needed.flatMap(([repository, blobs]) => blobs.map((blob) => `${repository} ${blob}`))),
    );
    for (const blob of missing) expect(blob).toMatchObject({ heldBy: ["october.tar"] });
    expect(target.repositories()).toEqual([]);
  });

  test("tells people the first twenty of what is missing, by image, digest and base", async () => {
    const layers = Array.from({ length: 24 }, () => 1000);
    const many = { many: await makeImage({ seed: "many", layers }) };
    await publish(many, "many.tar");
    await publish(many, "delta.tar", "--base", "many.tar");
    const result = await mirror("push", "delta.tar", ...to());
    expect(result.code).toBe(1);
    const lines = result.stderr.split("\n");
    const blob = /^ *\| {3}sha256:\w{64} \(.*\), which many\.tar had$/;
    expect(lines.filter((line) => blob.test(line))).toHaveLength(20);
    expect(result.stderr).toContain(`${source.host}/team/many:1.0 in team/many:\n`);
    expect(result.stderr).toContain("and 5 more, all of which --json tells");
    expect(result.stderr).toContain("nothing was moved");
  });

  test("one blob short moves nothing either, and mounts nothing", async () => {
    await done("push", "october.tar", ...to());
    target.deleteBlob("team/api", common.descriptor.digest);
    target.resetLog();
    const result = await mirror("push", "november.tar", ...to());
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(`${common.descriptor.digest} (`);
    expect(writes()).toBe(0);
  });

  test("sends what cannot be mounted, out of the repository that has it", async () => {
    await done("push", "october.tar", ...to());
    target.fault("refuse-mount");
    await done("push", "november.tar", ...to());
    expect(incompleteTags(target)).toEqual([]);
    await done("verify", "november.tar", ...to());
    expect(target.openUploads).toBe(0);
  });

  test("mends what the target only said it had, if another repository has it", async () => {
    await done("push", "october.tar", ...to());
    target.fault("lying-mount", { match: { path: /team\/job/ } });
    await done("push", "november.tar", ...to());
    expect(incompleteTags(target)).toEqual([]);
  });

  test("under a prefix finds the base there", async () => {
    const prefixed = ["--registry", `${target.host}/far/side`];
    await done("push", "october.tar", ...prefixed);
    const result = await done("push", "november.tar", ...prefixed);
    expect(result.stderr).toMatch(/mounted 2 /);
    expect(incompleteTags(target)).toEqual([]);
    expect(target.repositories()).toEqual(["far/side/team/api", "far/side/team/job", "far/side/team/web"]);
  });

  test("finds by a receipt what is in a repository that no image of the delta has", async () => {
    await done("push", "october.tar", ...to());
    await done("receipt", ...to(), "--to", "receipt.json");
    const result = await publish({ job: november.job }, "job.tar", "--base", "receipt.json");
    expect(result.stderr).toContain(`of ${target.host} (by receipt.json)`);
    target.resetLog();
    await done("push", "job.tar", ...to());
    expect(incompleteTags(target)).toEqual([]);
    expect(target.requests.reduce((sum, { bytesIn }) => sum + bytesIn, 0)).toBeLessThan(12_000);
  });

  test("of a delta by a receipt says that the registry is not as it was", async () => {
    await done("push", "october.tar", ...to());
    await done("receipt", ...to(), "--to", "receipt.json");
    await pullDelta("receipt.json", "by-receipt.tar");
    await using other = await startRegistry();
    const result = await mirror("push", "by-receipt.tar", "--registry", other.host);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(`${target.host} (by receipt.json) had`);
    expect(result.stderr).toContain("pull again with a new receipt");
  });

  test("where everything is refused says so", async () => {
    target.fault("status", { status: 403, match: { method: "HEAD", path: /\/blobs\// } });
    const result = await mirror("push", "november.tar", ...to());
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("what it refuses to tell counts as missing");
  });
});
