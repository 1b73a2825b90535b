/** Bundles out of pipes: one pass, no file, and nothing is tagged that is not whole. */
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, startMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { seed } from "../support/images.ts";
import { allTests, eachTest } from "../support/lifetimes.ts";
import {
  digests,
  flipped,
  makePipeCorpus,
  type PipeCorpus,
  placeOf,
  pushPiped,
} from "../support/pipe-corpus.ts";
import { runPipe } from "../support/shell.ts";

const MiB = 1024 * 1024;

let corpus: PipeCorpus;
let target: TestRegistry;

allTests(makePipeCorpus, (made) => {
  corpus = made;
});
eachTest(startRegistry, (made) => {
  target = made;
  corpus.source.clearFaults();
});
const push = async (input: Buffer | string): Promise<RunResult> => await pushPiped(input, target);

function expectAll(): void {
  const { web, api, big } = corpus;
  expect(incompleteTags(target)).toEqual([]);
  expect(target.manifest("team/web", "1.0")?.bytes.equals(web.manifest)).toBe(true);
  expect(target.manifest("team/api", "2.0")?.bytes.equals(api.manifest)).toBe(true);
  expect(target.manifest("team/big", "3.0")?.bytes.equals(big.manifest)).toBe(true);
}

describe("push -", () => {
  test("brings a bundle from a pipe into a registry", async () => {
    const line = `mirror pull ${corpus.images.join(" ")} --to - | mirror push - --registry ${target.host}`;
    const result = await runPipe(line, { cwd: corpus.folder.path });
    expect(result.codes, result.stderr).toEqual([0, 0]);
    expectAll();
    target.resetLog();
    const again = await push(corpus.bundle);
    expect(again.code, again.stderr).toBe(0);
    expect(target.requests.filter(({ method }) => method !== "HEAD" && method !== "GET")).toEqual([]);
  });

  test("takes a file as its input, and one transfer at a time", async () => {
    const line = `mirror push - --registry ${target.host} --concurrency 1 < file.tar`;
    const result = await runPipe(line, { cwd: corpus.folder.path });
    expect(result.codes, result.stderr).toEqual([0]);
    expectAll();
  });

  test("sends what the target lacks only", async () => {
    const [, one = ""] = digests(corpus.big);
    target.putBlob("team/big", corpus.big.layers[1]?.bytes ?? Buffer.alloc(0));
    const result = await push(corpus.bundle);
    expect(result.code, result.stderr).toBe(0);
    expectAll();
    expect(target.count("PUT", new RegExp(`digest=${one}`))).toBe(0);
  });

  test("sends a blob once, and reads it back from the target where mounts are refused", async () => {
    const double = await startRegistry();
    await using _ = double;
    for (const name of ["a", "b", "c"]) seed(double, `team/${name}`, "1", corpus.big);
    const names = ["a", "b", "c"].map((name) => `${double.host}/team/${name}:1`).join(" ");
    target.fault("refuse-mount");
    const line = `mirror pull ${names} --to - | mirror push - --registry ${target.host} --concurrency 1`;
    const result = await runPipe(line, { cwd: corpus.folder.path });
    expect(result.codes, result.stderr).toEqual([0, 0]);
    expect(incompleteTags(target)).toEqual([]);
    for (const name of ["a", "b", "c"]) expect(target.tags(`team/${name}`)).toEqual(["1"]);
    expect(target.count("GET", /\/blobs\/sha256/)).toBeGreaterThan(0);
  });

  test("takes a refused repository for what it is: others get what they share with it", async () => {
    target.fault("status", { status: 403, match: { path: /^\/v2\/team\/(?:web|big)\// } });
    const result = await push(corpus.bundle);
    expect(result.code).toBe(3);
    expect(target.tags("team/api")).toEqual(["2.0"]);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("sends a piece again where the connection breaks in the middle of a large blob", async () => {
    await target[Symbol.asyncDispose]();
    target = await startRegistry({ dialect: "3" });
    // The third piece of the large one, and the only one of another.
    target.fault("drop-upload-after", { bytes: 3 * MiB, skip: 2, times: 2, match: { method: "PATCH" } });
    const result = await push(corpus.bundle);
    expect(result.code, result.stderr).toBe(0);
    expectAll();
  });

  test("begins a blob anew that fits into memory", async () => {
    target.fault("drop-upload-after", { bytes: 3 * MiB, times: 2, match: { method: "PUT" } });
    target.fault("reject-patch");
    const result = await push(corpus.bundle);
    // The large one goes in one request then, which passes at its first try.
    expect(incompleteTags(target)).toEqual([]);
    expect(result.code, result.stderr).toBe(0);
    expectAll();
  });

  test("says what to do where a large blob would have to begin anew", async () => {
    const [, one = ""] = digests(corpus.big);
    // distribution 2.8 does not tell how far it got.
    target.fault("drop-upload-after", { bytes: 3 * MiB, skip: 2, match: { method: "PATCH" } });
    const result = await push(corpus.bundle);
    expect(result.code).toBe(3);
    expect(result.stderr).toContain(`Cannot read ${one} from standard input again`);
    expect(result.stderr).toContain("store the bundle in a file first");
    expect(target.tags("team/big")).toEqual([]);
    expect(target.tags("team/web")).toEqual(["1.0"]);
    expect(incompleteTags(target)).toEqual([]);
  });

  test.each([0.02, 0.3, 0.6, 0.95, 0.999_999])(
    "names what is missing of a stream that ends early (%d)",
    async (part) => {
      const result = await push(corpus.bundle.subarray(0, Math.floor(corpus.bundle.byteLength * part)));
      expect(result.code).toBe(4);
      expect(result.stderr).toContain("Cannot verify standard input");
      expect(result.stderr).toMatch(/ended after \d+ of \d+ bytes/);
      expect(incompleteTags(target)).toEqual([]);
    },
  );

  test("is not stuck when the program that writes is killed", async () => {
    const line = `(head -c 40000000 file.tar; kill -9 $BASHPID) | mirror push - --registry ${target.host}`;
    const result = await runPipe(line, { cwd: corpus.folder.path });
    expect(result.codes.at(-1)).toBe(4);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("costs the images that need it where a blob is damaged, and no others", async () => {
    const [, , two = ""] = digests(corpus.big);
    const result = await push(flipped(corpus.bundle, placeOf(corpus.bundle, two) + 1000));
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`Cannot verify standard input: ${two} is damaged`);
    expect(target.tags("team/big")).toEqual([]);
    expect(target.tags("team/web")).toEqual(["1.0"]);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("finds a damaged header, a damaged table of contents, and what is behind the end", async () => {
    const header = await push(
      flipped(corpus.bundle, placeOf(corpus.bundle, digests(corpus.api)[1] ?? "") - 512 + 105),
    );
    expect(header.code).toBe(4);
    expect(header.stderr).toContain("the tar header of");
    const table = await push(flipped(corpus.bundle, corpus.bundle.indexOf('"checksum"') + 20));
    expect(table.code).toBe(4);
    expect(table.stderr).toContain("table of contents");
    const longer = await push(Buffer.concat([corpus.bundle, Buffer.from("x")]));
    expect(longer.code).toBe(4);
    expect(longer.stderr).toContain(`there is more behind its ${corpus.bundle.byteLength} bytes`);
  });

  test("finds damage in what the target has already", async () => {
    expect((await push(corpus.bundle)).code).toBe(0);
    const [, one = ""] = digests(corpus.big);
    const result = await push(flipped(corpus.bundle, placeOf(corpus.bundle, one) + 5));
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`${one} is damaged`);
  });

  test("says what it is given where that is no bundle", async () => {
    const empty = await push("");
    expect(empty.code).toBe(1);
    expect(empty.stderr).toContain("Cannot read standard input: nothing came");
    const other = await push(Buffer.from("neither a bundle nor a tar".repeat(100)));
    expect(other.code).toBe(1);
    expect(other.stderr).toContain("it is neither a bundle nor an archive of images");
    expect(other.stderr).toContain("give it a bundle");
    const part = await push(gzipSync(corpus.bundle.subarray(0, 100_000)));
    expect(part.code).toBe(4);
    expect(part.stderr).toContain(`it ended after 100000 of ${corpus.bundle.byteLength} bytes`);
  });

  test("ends though its input stays open", async () => {
    target.fault("status", { status: 403, match: { path: /^\/v2\/team\// } });
    await using running = await startMirror(["push", "-", "--registry", target.host], {
      stdin: corpus.bundle.subarray(0, 1_000_000),
      stdinStaysOpen: true,
    });
    expect((await running.result).code).toBe(1);
  });

  test("is interrupted by a signal while it waits for its input", async () => {
    await using running = await startMirror(["push", "-", "--registry", target.host], {
      stdin: corpus.bundle.subarray(0, 10_000_000),
      stdinStaysOpen: true,
    });
    await running.until(/plain HTTP/);
    running.kill("SIGINT");
    expect((await running.result).code).toBe(130);
  });
});
