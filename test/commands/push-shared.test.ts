/** What an image has that is complete in the target is mounted for the others, also where no notes tell of it. */
import { readFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const shared = await makeRandomLayer("shared", 600_000);
const web = makeIndex([
  await makeImage({ seed: "web", layers: [shared, 3_000] }),
  await makeImage({ seed: "web", platform: "linux/arm64", layers: [5_000] }),
]);
const api = await makeImage({ seed: "api", layers: [shared, 4_000] });

let folder: TempDir;
let bundle: Buffer;
let target: TestRegistry;

beforeAll(async () => {
  folder = await tempDir();
  await using source = await startRegistry();
  seed(source, "team/web", "1.0", web);
  seed(source, "team/api", "1.0", api);
  const images = ["web", "api"].map((name) => `${source.host}/team/${name}:1.0`);
  const pulled = await runMirror(["pull", ...images, "--to", folder.join("bundle.tar")]);
  expect(pulled.code, pulled.stderr).toBe(0);
  bundle = await readFile(folder.join("bundle.tar"));
});
afterAll(async () => {
  await folder[Symbol.asyncDispose]();
});
beforeEach(async () => {
  target = await startRegistry();
});
afterEach(async () => {
  await target[Symbol.asyncDispose]();
});

/** Each run has a state folder of its own: nothing tells it what another one has done. */
const push = async (from: string): Promise<RunResult> =>
  await runMirror(
    ["push", from, "--registry", target.host],
    from === "-" ? { stdin: bundle } : { cwd: folder.path },
  );

test.each(["-", "bundle.tar"])("push %s after a run that completed one of two images", async (from) => {
  target.fault("status", { status: 403, match: { path: /\/team\/api\// } });
  const first = await push(from);
  expect(first.code, first.stderr).toBe(3);
  expect(target.tags("team/web")).toEqual(["1.0"]);
  target.clearFaults();
  target.resetLog();
  const second = await push(from);
  expect(second.code, second.stderr).toBe(0);
  const hex = shared.descriptor.digest.slice("sha256:".length);
  expect(target.count("PUT", new RegExp(hex))).toBe(0);
  expect(target.count("POST", /team\/api\/.*from=team(?:\/|%2F)web/)).toBe(1);
  expect(incompleteTags(target)).toEqual([]);
  expect(target.manifest("team/api", "1.0")?.digest).toBe(api.descriptor.digest);
});

test("a repository that has lost it costs a refused mount, and the blob is sent", async () => {
  target.fault("status", { status: 403, match: { path: /\/team\/api\// } });
  await push("bundle.tar");
  target.clearFaults();
  target.deleteBlob("team/web", shared.descriptor.digest);
  const second = await push("bundle.tar");
  expect(second.code, second.stderr).toBe(0);
  expect(target.manifest("team/api", "1.0")?.digest).toBe(api.descriptor.digest);
});
