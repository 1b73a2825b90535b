/** A page in the place of a blob, of a proxy or a login portal, costs nothing of what has come before. */
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Fault } from "../registry/fault.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { pull, type Run, wanted } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const size = 4_000_000;
const half = 2_000_000;
const image = await makeImage({ seed: "page instead", layers: [size] });
const layer = new RegExp(`/blobs/${image.layers[0]?.descriptor.digest ?? ""}$`);
const text = Buffer.from(`<!DOCTYPE html><html><body>${"log in ".repeat(1000)}</body></html>`);
const html = { "content-type": "text/html; charset=utf-8" };
const chunked = { ...html, "transfer-encoding": "chunked" };

/** What a portal answers to anything. */
const pages: Readonly<Record<string, () => ReturnType<NonNullable<Fault["intercept"]>>>> = {
  "a page": () => ({ status: 200, headers: html, body: [text] }),
  "a page without a length": () => ({ status: 200, headers: chunked, body: [text] }),
  "a page larger than what is there": () => ({
    status: 200,
    headers: chunked,
    body: Array.from({ length: 100 }, () => text),
  }),
  "a page in gzip": () => ({
    status: 200,
    headers: { ...chunked, "content-encoding": "gzip" },
    body: [gzipSync(text)],
  }),
  "a page as a part": () => ({ status: 206, headers: html, body: [text] }),
};

let registry: TestRegistry;
let folder: TempDir;

beforeEach(async () => {
  registry = await startRegistry();
  folder = await tempDir();
  seed(registry, "team/app", "1.0", image);
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** The line breaks in the middle of the layer, and a portal answers from then on, `times` times. */
function portal(page: keyof typeof pages, times = 1_000_000): void {
  registry.fault("drop-body-after", { bytes: half, times: 1, match: { path: layer } });
  registry.customFault(
    "portal",
    { methods: ["GET"], path: layer, intercept: pages[page] ?? (() => undefined) },
    { skip: 1, times },
  );
}

const run = async (): Promise<Run> => await pull([wanted(registry, "team/app:1.0")], folder.join("b.tar"));
/** What the registry has sent of the layer. */
const sent = (): number =>
  registry.requests
    .filter(({ path }) => layer.test(path))
    .reduce((sum, { bytesOut }) => sum + (bytesOut > size / 4 ? bytesOut : 0), 0);
const ranges = (): readonly string[] =>
  registry.requests.filter(({ path }) => layer.test(path)).flatMap(({ headers }) => headers.range ?? []);

test.each(Object.keys(pages))("%s that goes away again is waited for", async (page) => {
  portal(page, 3);
  const { outcomes } = await run();
  expect(outcomes.flatMap(({ error }) => error ?? [])).toEqual([]);
  // What was in a buffer when the line broke is lost.
  expect(sent()).toBeLessThan(size + 100_000);
  expect(ranges().length).toBeGreaterThan(1);
});

test.each(Object.keys(pages))(
  "%s that stays fails, and the next run goes on from before it",
  async (page) => {
    portal(page);
    const { outcomes } = await run();
    const [error] = outcomes.flatMap((outcome) => outcome.error ?? []);
    expect(error?.message).toContain(`${registry.host} answered with a web page`);
    expect(error?.message).toContain("(text/html");
    expect(error?.hint).toContain("a proxy or a login page");
    expect(registry.count("GET", layer)).toBeLessThanOrEqual(6);
    registry.clearFaults();
    registry.resetLog();
    await run();
    expect(ranges()).toEqual([expect.stringMatching(/^bytes=(?!0-)/)]);
    expect(sent()).toBeLessThan(size - half / 2);
  },
);

test("the program says what came, and the same command goes on later", async () => {
  portal("a page");
  const args = ["pull", `${registry.host}/team/app:1.0`, "--to", "bundle.tar"];
  const failed = await runMirror(args, { cwd: folder.path });
  expect(failed.code).toBe(4);
  expect(failed.stderr).toMatch(
    /^retrying read sha256:.*answered with a web page \(text\/html.*\) of \d+ bytes/m,
  );
  registry.clearFaults();
  registry.resetLog();
  const again = await runMirror(args, { cwd: folder.path });
  expect(again.code, again.stderr).toBe(0);
  expect(sent()).toBeLessThan(size - half / 2);
  expect((await runMirror(["verify", "bundle.tar"], { cwd: folder.path })).code).toBe(0);
});

test("a large blob that is called a page, and comes encoded, is read all the same", async () => {
  const body = [gzipSync(image.layers[0]?.bytes ?? Buffer.alloc(0))];
  const headers = { ...chunked, "content-encoding": "gzip" };
  registry.customFault("a default type of text/html", {
    methods: ["GET"],
    path: layer,
    intercept: () => ({ status: 200, headers, body }),
  });
  const { outcomes } = await run();
  expect(outcomes.flatMap(({ error }) => error ?? [])).toEqual([]);
  // Once as it came, once decoded.
  expect(registry.count("GET", layer)).toBeLessThanOrEqual(2);
});
