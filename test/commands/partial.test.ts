/** One image of two fails, at every stage and in every mode: exit code, result, what is left, and the next run. */
import { readFile, stat } from "node:fs/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

let folder: TempDir;
let source: TestRegistry;
let children: readonly TestImage[];
let names: { readonly good: string; readonly bad: string };

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map(async (platform) => await makeImage({ seed: "bad", platform })),
  );
  seed(source, "team/bad", "1.0", makeIndex(children));
  seed(source, "team/good", "1.0", await makeImage({ seed: "good", layers: [3000] }));
  names = { good: `${source.host}/team/good:1.0`, bad: `${source.host}/team/bad:1.0` };
  expect((await runMirror(["pull", names.bad, names.good, "--to", folder.join("whole.tar")])).code).toBe(0);
  expect((await runMirror(["pull", names.good, "--to", folder.join("good.tar")])).code).toBe(0);
});
beforeEach(() => source.clearFaults());

const blobOfBad = (): RegExp => new RegExp(`/blobs/${children[1]?.layers[0]?.descriptor.digest}$`);
const lost = (path: RegExp): void => void source.fault("status", { status: 404, match: { path } });

/** Where the image fails: what breaks, and the code that is told. */
const stages: readonly (readonly [string, () => void, string])[] = [
  ["when it is resolved", () => lost(/\/team\/bad\/manifests\/1\.0$/), "NOT_FOUND"],
  ["at a manifest", () => lost(new RegExp(`/manifests/${children[1]?.descriptor.digest}$`)), "NOT_FOUND"],
  ["at a blob", () => lost(blobOfBad()), "NOT_FOUND"],
  ["with damaged content", () => source.fault("corrupt-blob", { match: { path: blobOfBad() } }), "INTEGRITY"],
];

interface Image {
  readonly image: string;
  readonly status: string;
}
const results = ({ stdout }: RunResult): readonly Image[] =>
  (JSON.parse(stdout) as { readonly images: readonly Image[] }).images;
const resultOf = (run: RunResult, name: string): Image | undefined =>
  results(run).find(({ image }) => image === name);
const codeOf = (error: string, otherwise: number): number => (error === "INTEGRITY" ? 4 : otherwise);

describe.each(stages)("an image that fails %s", (stage, breaks, error) => {
  const failed = { status: "failed", error: { code: error, message: expect.stringMatching(/^Cannot /) } };

  test.each([
    ["", "none", 1, "skipped"],
    ["--keep-going", "good.tar", 3, "done"],
    ["--keep-going --fail-fast", "none", 1, undefined],
  ])("pull %s", async (flags, left, otherwise, status) => {
    breaks();
    const to = folder.join(`${stage}${flags}.tar`.replaceAll(" ", "-"));
    const args = ["pull", names.bad, names.good, "--to", to, ...flags.split(" ").filter(Boolean)];
    const first = await runMirror([...args, "--json"]);
    expect(first.code, first.stderr).toBe(codeOf(error, otherwise));
    expect(resultOf(first, names.bad)).toMatchObject(failed);
    if (status !== undefined) expect(resultOf(first, names.good)?.status).toBe(status);
    if (left === "none") await expect(stat(to)).rejects.toThrow("ENOENT");
    else expect((await readFile(to)).equals(await readFile(folder.join(left)))).toBe(true);

    source.clearFaults();
    const second = await runMirror(args);
    expect(second.code, second.stderr).toBe(0);
    expect((await readFile(to)).equals(await readFile(folder.join("whole.tar")))).toBe(true);
  });

  test("sync", async () => {
    await using target = await startRegistry();
    breaks();
    const args = ["sync", names.bad, names.good, "--registry", target.host];
    const first = await runMirror([...args, "--json"]);
    expect(first.code, first.stderr).toBe(codeOf(error, 3));
    expect(resultOf(first, names.bad)).toMatchObject(failed);
    expect(resultOf(first, names.good)?.status).toBe("done");
    expect([target.tags("team/good"), target.tags("team/bad")]).toEqual([["1.0"], []]);
    expect(incompleteTags(target)).toEqual([]);

    source.clearFaults();
    expect((await runMirror(args)).code).toBe(0);
    expect([target.tags("team/bad"), incompleteTags(target)]).toEqual([["1.0"], []]);
  });
});

test.each([
  ["pull --to none.tar", 1],
  ["pull --to none.tar --keep-going", 1],
  ["sync --registry", 1],
])("all images that fail: %s", async (command, code) => {
  await using target = await startRegistry();
  lost(/\/blobs\//);
  const [verb = "", ...flags] = command.split(" ");
  const args = [verb, names.bad, names.good, ...flags, ...(verb === "sync" ? [target.host] : [])];
  const result = await runMirror([...args, "--json"], { cwd: folder.path });
  expect(result.code, result.stderr).toBe(code);
  expect(results(result)).toHaveLength(2);
  for (const image of results(result)) expect(image).toMatchObject({ status: "failed" });
  await expect(stat(folder.join("none.tar"))).rejects.toThrow("ENOENT");
  expect(target.repositories().flatMap((repository) => target.tags(repository))).toEqual([]);
});

describe("an image that the target of a push refuses", () => {
  const refused = { status: 403, match: { method: "POST", path: /\/team\/bad\// } };

  test.each([
    ["", 3, ["1.0"]],
    ["--fail-fast", undefined, undefined],
  ])("%s", async (flag, code, tags) => {
    await using target = await startRegistry();
    target.fault("status", refused);
    const args = ["push", folder.join("whole.tar"), "--registry", target.host];
    const first = await runMirror([...args, "--json", ...[flag].filter(Boolean)]);
    expect(first.code, first.stderr).toBe(code ?? first.code);
    expect([1, 3]).toContain(first.code);
    expect(resultOf(first, names.bad)).toMatchObject({ status: "failed", error: expect.anything() });
    if (tags !== undefined) expect(target.tags("team/good")).toEqual(tags);
    expect([target.tags("team/bad"), incompleteTags(target)]).toEqual([[], []]);

    target.clearFaults();
    expect((await runMirror(args)).code).toBe(0);
    expect([target.tags("team/bad"), incompleteTags(target)]).toEqual([["1.0"], []]);
  });
});
