/** Bundles into pipes, as users write them: no file anywhere, and the bytes are those that the file would have. */
import { readdir, readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
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
import { tempDir } from "../support/temp.ts";

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

describe("pull --to -", () => {
  test("writes the bytes that the file would have, and nothing else anywhere", async () => {
    await using empty = await tempDir();
    const result = await runPipe(`mirror pull ${corpus.images.join(" ")} --to -`, { cwd: empty.path });
    expect(result.codes, result.stderr).toEqual([0]);
    expect(result.stdout.equals(corpus.bundle)).toBe(true);
    expect(result.stderr).toContain("pulled 3 images");
    expect(await readdir(empty.path)).toEqual([]);
  });

  test("writes the same bytes where its output is a file", async () => {
    const result = await runPipe(`mirror pull ${corpus.images.join(" ")} --to - > redirected.tar`, {
      cwd: corpus.folder.path,
    });
    expect(result.codes, result.stderr).toEqual([0]);
    expect((await readFile(corpus.folder.join("redirected.tar"))).equals(corpus.bundle)).toBe(true);
  });

  test("goes on where connections break, and fetches again what comes wrong and is not written yet", async () => {
    corpus.source.fault("drop-body-after", { bytes: 5 * MiB, times: 30 });
    const small = digests(corpus.api)[1] ?? "";
    corpus.source.fault("corrupt-blob", { times: 1, match: { path: new RegExp(small) } });
    const result = await runMirror(["pull", ...corpus.images, "--to", "-"]);
    expect(result.code, result.stderr).toBe(0);
    expect(result.output.equals(corpus.bundle)).toBe(true);
    expect(corpus.source.requests.some(({ headers }) => headers.range !== undefined)).toBe(true);
  });

  test("ends the stream without its end where wrong content is in it already", async () => {
    const large = digests(corpus.big)[1] ?? "";
    corpus.source.fault("corrupt-blob", { match: { path: new RegExp(large) } });
    const result = await runMirror(["pull", ...corpus.images, "--to", "-"]);
    expect(result.code).toBe(4);
    expect(result.output.byteLength).toBeLessThan(corpus.bundle.byteLength);
    expect(result.stderr).toContain(`Cannot verify ${large}`);
    expect(result.stderr).toContain("has no end");
    const pushed = await push(result.output);
    expect(pushed.code).toBe(4);
    expect(target.tags("team/big")).toEqual([]);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("leaves out what fails before the first byte with --keep-going, and writes nothing without", async () => {
    const missing = `${corpus.source.host}/team/none:1`;
    const line = [
      "pull",
      `${corpus.source.host}/team/web:1.0`,
      `${corpus.source.host}/team/api:2.0`,
      missing,
      "--to",
      "-",
    ];
    const strict = await runMirror(line);
    expect(strict.output.byteLength).toBe(0);
    expect(strict.code).toBe(1);
    const kept = await runMirror([...line, "--keep-going"]);
    expect(kept.code, kept.stderr).toBe(3);
    expect((await push(kept.output)).code).toBe(0);
    expect(target.tags("team/web")).toEqual(["1.0"]);
  });

  test("takes content from an earlier bundle", async () => {
    corpus.source.resetLog();
    const result = await runMirror([
      "pull",
      ...corpus.images,
      "--to",
      "-",
      "--reuse",
      corpus.folder.join("file.tar"),
    ]);
    expect(result.code, result.stderr).toBe(0);
    expect(result.output.equals(corpus.bundle)).toBe(true);
    expect(corpus.source.count("GET", /\/blobs\//)).toBe(0);
  });

  test("says so when its reader ends", async () => {
    const result = await runPipe(`mirror pull ${corpus.images.join(" ")} --to - | head -c 100000`, {
      cwd: corpus.folder.path,
    });
    expect(result.codes).toEqual([1, 0]);
    expect(result.stderr).toContain("Cannot write to standard output: the program that reads it has ended");
  });

  test("refuses --json, which would be in the middle of the bundle", async () => {
    const result = await runMirror(["pull", ...corpus.images, "--to", "-", "--json"]);
    expect(result.code).toBe(2);
    expect(result.stdout).toContain("standard output is the bundle");
  });
});

describe("verify - and ls -", () => {
  test("prove a bundle in a pipe, and say what is wrong with it", async () => {
    const whole = await runMirror(["verify", "-", "--json"], { stdin: corpus.bundle });
    expect(JSON.parse(whole.stdout)).toMatchObject({ ok: true, images: 3, problems: [] });
    const one = digests(corpus.big)[1] ?? "";
    const damaged = await runMirror(["verify", "-"], {
      stdin: flipped(corpus.bundle, placeOf(corpus.bundle, one) + 1_000_000),
    });
    expect(damaged.code).toBe(4);
    expect(damaged.stderr).toContain("standard input is damaged: 1 problem");
    expect(damaged.stderr).toContain(one);
    expect(damaged.stderr).toContain("team/big:3.0");
    const short = await runMirror(["verify", "-"], {
      stdin: corpus.bundle.subarray(0, corpus.bundle.byteLength - 1),
    });
    expect(short.code).toBe(4);
    expect(short.stderr).toContain("it ended after");
  });

  test("ask a registry for what came through the pipe", async () => {
    const lacks = await runMirror(["verify", "-", "--registry", target.host], { stdin: corpus.bundle });
    expect(lacks.code).toBe(4);
    expect((await push(corpus.bundle)).code).toBe(0);
    const has = await runMirror(["verify", "-", "--registry", target.host], { stdin: corpus.bundle });
    expect(has.code, has.stderr).toBe(0);
  });

  test("show its images from the front alone", async () => {
    const [listed, inspected] = await Promise.all(
      ["ls", "inspect"].map(
        async (verb) => await runMirror([verb, "-"], { stdin: corpus.bundle.subarray(0, 200_000) }),
      ),
    );
    const file = await runMirror(["ls", corpus.folder.join("file.tar")]);
    expect(listed?.code, listed?.stderr).toBe(0);
    expect(listed?.stdout).toBe(file.stdout);
    expect(inspected?.code, inspected?.stderr).toBe(0);
  });
});
