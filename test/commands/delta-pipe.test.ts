/** Deltas through pipes: what they lean on is proved at the target before any of their blobs is taken. */
import { readFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { flipped, placeOf } from "../support/pipe-corpus.ts";
import { runPipe } from "../support/shell.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const MiB = 1024 * 1024;
const shared = await makeRandomLayer("shared", 400_000);
const common = await makeRandomLayer("common", 100_000);
const october = {
  web: await makeImage({ seed: "web 1", layers: [shared, 20_000] }),
  api: await makeImage({ seed: "api", layers: [shared, common] }),
};
const november = {
  ...october,
  // Larger than what goes in one request, so that it can break in the middle.
  web: await makeImage({ seed: "web 2", layers: [shared, await makeRandomLayer("new", 3 * MiB)] }),
  // What it needs is in other repositories.
  job: makeIndex([
    await makeImage({ seed: "job", layers: [common, 5_000] }),
    await makeImage({ seed: "job", platform: "linux/arm64", layers: [common, shared] }),
  ]),
};

let source: TestRegistry;
let target: TestRegistry;
let folder: TempDir;
/** The delta against october.tar as a file. */
let delta: Buffer;

const publish = (images: Readonly<Record<string, Parameters<typeof seed>[3]>>): readonly string[] =>
  Object.entries(images).map(([name, image]) => {
    seed(source, `team/${name}`, "1.0", image);
    return `${source.host}/team/${name}:1.0`;
  });

beforeAll(async () => {
  source = await startRegistry();
  folder = await tempDir();
  await done("pull", ...publish(october), "--to", "october.tar");
  await done("pull", ...publish(november), "--to", "november.tar", "--base", "october.tar");
  await done("pull", ...publish(november), "--to", "whole.tar");
  delta = await readFile(folder.join("november.tar"));
});
afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
beforeEach(async () => {
  target = await startRegistry();
});
afterEach(async () => {
  await target[Symbol.asyncDispose]();
});

async function done(...args: readonly string[]): Promise<RunResult> {
  const result = await runMirror(args, { cwd: folder.path });
  expect(result.code, `mirror ${args.join(" ")}\n${result.stderr}`).toBe(0);
  return result;
}

const piped = async (stdin: Buffer, ...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { stdin, cwd: folder.path });
const push = async (stdin: Buffer, ...flags: readonly string[]): Promise<RunResult> =>
  await piped(stdin, "push", "-", "--registry", target.host, ...flags);
const writes = (): readonly string[] =>
  target.requests.flatMap(({ method, path }) => (/^(?:GET|HEAD)$/.test(method) ? [] : `${method} ${path}`));
const received = (): number => target.requests.reduce((sum, { bytesIn }) => sum + bytesIn, 0);

/** Everything that a registry holds, as its receipt says it; the host left out. */
async function holdings({ host }: TestRegistry): Promise<unknown> {
  return (JSON.parse((await done("receipt", "--registry", host)).stdout) as { repositories: unknown })
    .repositories;
}

describe("pull --base --to -", () => {
  test("writes the bytes of the file", async () => {
    const names = publish(november);
    const result = await runMirror(["pull", ...names, "--base", "october.tar", "--to", "-"], {
      cwd: folder.path,
    });
    expect(result.code, result.stderr).toBe(0);
    expect(result.output.equals(delta)).toBe(true);
    expect(result.stderr).toMatch(
      /^note: the bundle in the pipe is a delta: it leans on 3 blobs \(.*\) of october\.tar$/m,
    );
  });

  test("writes a whole bundle where the base has nothing of it, and says so", async () => {
    const other = publish({ tool: await makeImage({ seed: "tool", layers: [1000] }) });
    const flags = ["--base", "october.tar", "--to", "-"];
    const result = await runMirror(["pull", ...other, ...flags], { cwd: folder.path });
    expect(result.stderr).toMatch(/^note: the bundle in the pipe is whole: october\.tar has nothing of it$/m);
    expect((await piped(result.output, "verify", "-")).stdout).toMatch(/^standard input is whole: 1 image/m);
  });
});

describe("push - of a delta", () => {
  test("by a receipt ends as a push of the whole does", async () => {
    await done("push", "october.tar", "--registry", target.host);
    await done("receipt", "--registry", target.host, "--to", "receipt.json");
    target.resetLog();
    const line = `mirror pull ${publish(november).join(" ")} --base receipt.json --to - | mirror push - --registry ${target.host}`;
    const result = await runPipe(line, { cwd: folder.path });
    expect(result.codes, result.stderr).toEqual([0, 0]);
    expect(received()).toBeLessThan(3 * MiB + 60_000);
    expect(result.stderr).toMatch(/mounted 2 /);
    await using whole = await startRegistry();
    for (const bundle of ["october.tar", "whole.tar"]) await done("push", bundle, "--registry", whole.host);
    expect(await holdings(target)).toEqual(await holdings(whole));
    expect(incompleteTags(target)).toEqual([]);
  });

  test("to an empty registry is refused before any blob is taken, with all that is missing", async () => {
    const result = await push(delta, "--json");
    expect(result.code).toBe(1);
    const file = await runMirror(["push", "november.tar", "--registry", target.host, "--json"], {
      cwd: folder.path,
    });
    const [told, expected] = [result, file].map(
      ({ stdout }) => JSON.parse(stdout) as { readonly missing: readonly unknown[]; readonly error: unknown },
    );
    expect(told?.missing).toEqual(expected?.missing);
    expect(told?.missing).toHaveLength(6);
    expect(told?.error).toMatchObject({
      code: "NOT_FOUND",
      hint: `push what it leans on first: mirror push october.tar --registry ${target.host}`,
    });
    expect(writes()).toEqual([]);
    // The front of the stream is all that it takes.
    const front = delta.subarray(0, 100_000);
    const cut = await push(front);
    expect(cut.stderr).toContain(`Cannot push standard input: ${target.host} lacks 3 blobs`);
    expect(target.repositories()).toEqual([]);
  });

  test("one blob short moves nothing either, and mounts nothing", async () => {
    await done("push", "october.tar", "--registry", target.host);
    target.deleteBlob("team/api", common.descriptor.digest);
    target.resetLog();
    const result = await push(delta);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(`${common.descriptor.digest} (`);
    expect(writes()).toEqual([]);
  });

  test("sends what cannot be mounted, out of the repository that has it", async () => {
    await done("push", "october.tar", "--registry", target.host);
    target.fault("refuse-mount");
    const result = await push(delta, "--concurrency", "1");
    expect(result.code, result.stderr).toBe(0);
    expect(incompleteTags(target)).toEqual([]);
    await done("verify", "november.tar", "--registry", target.host);
  });

  test("goes on where an upload breaks", async () => {
    await target[Symbol.asyncDispose]();
    target = await startRegistry({ dialect: "3" });
    await done("push", "october.tar", "--registry", target.host);
    target.fault("drop-upload-after", { bytes: MiB, times: 1, match: { path: /team\/web/ } });
    const result = await push(delta);
    expect(result.code, result.stderr).toBe(0);
    expect(incompleteTags(target)).toEqual([]);
  });

  test.each([
    ["in the middle of a blob", (): Buffer => delta.subarray(0, delta.byteLength - 2 * MiB)],
    ["at its end", (): Buffer => delta.subarray(0, delta.byteLength - 1)],
    ["by a flipped bit", (): Buffer => flipped(delta, placeOf(delta, newLayer()) + MiB)],
  ])("that breaks %s tags nothing incomplete, and goes through the next time", async (_, broken) => {
    await done("push", "october.tar", "--registry", target.host);
    const result = await push(broken());
    expect(result.code, result.stderr).toBeGreaterThan(0);
    expect(incompleteTags(target)).toEqual([]);
    expect((await push(delta)).code).toBe(0);
    expect(target.manifest("team/web", "1.0")?.digest).toBe(november.web.descriptor.digest);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("that is there already costs a request for each image", async () => {
    await done("push", "october.tar", "--registry", target.host);
    expect((await push(delta)).code).toBe(0);
    target.resetLog();
    expect((await push(delta)).code).toBe(0);
    expect(target.requests.filter(({ path }) => path !== "/v2/").map(({ method }) => method)).toEqual([
      "HEAD",
      "HEAD",
      "HEAD",
    ]);
  });
});

const newLayer = (): string => november.web.layers[1]?.descriptor.digest ?? "";

describe("of a delta on standard input", () => {
  test("verify proves what is in it, and with --base what it leans on", async () => {
    const alone = await piped(delta, "verify", "-");
    expect(alone.stdout).toMatch(/^standard input is whole as a delta: 3 images/m);
    expect(alone.stdout).toMatch(/^it leans on 3 blobs \(.*\) of october\.tar; --base/m);
    const both = await piped(delta, "verify", "-", "--base", "october.tar");
    expect(both.code, both.stderr).toBe(0);
    expect(both.stdout).toMatch(/^standard input is whole together with what it leans on: 3 images/m);
    const wrong = await piped(delta, "verify", "-", "--base", "whole.tar");
    expect(wrong.code).toBe(0);
    const other = await piped(delta, "verify", "-", "--base", "november.tar");
    expect(other.code).toBe(4);
    expect(other.stderr).toContain("is not in november.tar; october.tar had it");
    const damaged = await piped(flipped(delta, placeOf(delta, newLayer()) + 5), "verify", "-");
    expect(damaged.code).toBe(4);
    expect(damaged.stderr).toContain(newLayer());
  });

  test("verify --registry asks for all of it", async () => {
    await done("push", "october.tar", "--registry", target.host);
    const lacks = await piped(delta, "verify", "-", "--registry", target.host);
    expect(lacks.code).toBe(4);
    expect((await push(delta)).code).toBe(0);
    const has = await piped(delta, "verify", "-", "--registry", target.host);
    expect(has.code, has.stderr).toBe(0);
  });

  test.each(["ls", "inspect"])("%s shows the same as of the file", async (command) => {
    const file = await done(command, "november.tar");
    const pipe = await piped(delta.subarray(0, 100_000), command, "-");
    expect(pipe.code, pipe.stderr).toBe(0);
    expect(pipe.stdout).toBe(file.stdout.replace("november.tar is a delta", "standard input is a delta"));
    expect(pipe.stdout).toContain("standard input is a delta: it leans on 3 blobs");
  });

  test("receipt looks for its images", async () => {
    await done("push", "october.tar", "--registry", target.host);
    const file = await done("receipt", "november.tar", "--registry", target.host);
    const pipe = await piped(delta, "receipt", "-", "--registry", target.host);
    expect(pipe.code, pipe.stderr).toBe(0);
    expect(pipe.stdout).toBe(file.stdout);
    expect(pipe.stdout).toContain("team/api");
  });
});
