/** Real registries that refuse, and real registries that die in the middle. */
import { readdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningMirror, runMirror, startMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import {
  type CorpusImage,
  listOf,
  makeCorpus,
  makeLongImage,
  manifestsOf,
  upload,
} from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { run } from "./support/process.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined)("a docker-registry", () => {
  const layers = 40;
  let folder: TempDir;
  let content: string;
  let long: CorpusImage;
  let bundle: string;

  beforeAll(async () => {
    folder = await tempDir();
    content = folder.join("content");
    long = await makeLongImage(layers, 500_000);
    bundle = folder.join("bundle.tar");
    await using registry = await startDockerRegistry({ program, dir: content });
    await upload(registry.url, [long]);
    const image = `${registry.host}/${long.repository}:${long.tag}`;
    const pulled = await runMirror(["pull", image, "--to", bundle]);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  });

  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
  });

  /** Kills a registry once it has answered three requests of a kind. Fails if the program ends before that. */
  async function killInTheMiddle(
    registry: DockerRegistry,
    running: RunningMirror,
    kind: readonly [method: string, path: RegExp],
  ): Promise<void> {
    // Each count is a request of its own, so this does not spin.
    while ((await registry.accessLog.count(...kind)) < 3) {
      expect(running.child.exitCode, running.stderr).toBe(null);
    }
    process.kill(registry.pid, "SIGKILL");
  }

  test("that is read-only refuses a push in words, once for each image", async () => {
    const corpus = await makeCorpus();
    const { url, host, close } = await startDockerRegistry({ program });
    await upload(url, corpus);
    const small = folder.join("small.tar");
    const pulled = await runMirror(["pull", "--file", "-", "--to", small], { stdin: listOf(host, corpus) });
    await close();
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });

    await using registry = await startDockerRegistry({ program, readOnly: true });
    const pushed = await runMirror(["push", small, "--registry", registry.host]);
    expect(pushed, pushed.stderr).toMatchObject({ code: 1, stdout: "" });
    expect(pushed.stderr).toContain(`${registry.host} answered 405 (not supported)`);
    expect(pushed.stderr).toContain("the registry is read-only, or does not offer this");
    expect(pushed.stderr).toContain("5 of 5 images failed");
    expect(await registry.accessLog.count("PUT")).toBe(0);
  });

  test("that dies in the middle of a push has the rest after the next one", async () => {
    await using registry = await startDockerRegistry({ program, dir: folder.join("target") });
    const push = ["push", bundle, "--registry", registry.host, "--concurrency", "1", "--patience", "0"];
    await using running = await startMirror(push);
    await killInTheMiddle(registry, running, ["PUT", /\/blobs\/uploads\//]);
    const broken = await running.result;
    expect(broken, broken.stderr).toMatchObject({ code: 1 });
    expect(broken.stderr).toContain("check the port, and that the registry is running");

    const port = Number(registry.host.split(":")[1]);
    await using revived = await startDockerRegistry({ program, dir: registry.dir, port });
    const again = await runMirror(push);
    expect(again, again.stderr).toMatchObject({ code: 0 });
    await expectManifests({ skopeo, host: revived.host }, manifestsOf([long]));
    // Of the layers and the config, three at least were there.
    expect(await revived.accessLog.count("PUT", /\/blobs\/uploads\//)).toBeLessThanOrEqual(layers + 1 - 3);
    const verified = await runMirror(["verify", bundle, "--registry", registry.host]);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
  });

  test("that dies in the middle of a pull gives the rest to the next one", async () => {
    await using registry = await startDockerRegistry({ program, dir: content });
    await using work = await tempDir();
    await writeFile(work.join("manifests.yaml"), listOf(registry.host, [long]));
    const pull = ["pull", "--to", "bundle.tar", "--concurrency", "1", "--patience", "0"];
    await using running = await startMirror(pull, { cwd: work.path });
    await killInTheMiddle(registry, running, ["GET", /\/blobs\/sha256:/]);
    const broken = await running.result;
    expect(broken, broken.stderr).toMatchObject({ code: 1 });
    expect(broken.stderr).toContain("run the same command again to go on");
    expect(await readdir(work.path)).not.toContain("bundle.tar");

    const port = Number(registry.host.split(":")[1]);
    await using revived = await startDockerRegistry({ program, dir: content, port });
    const again = await runMirror(pull, { cwd: work.path });
    expect(again, again.stderr).toMatchObject({ code: 0 });
    expect(await revived.accessLog.count("GET", /\/blobs\/sha256:/)).toBeLessThanOrEqual(layers + 1 - 3);
    expect((await readdir(work.path)).sort()).toEqual(["bundle.tar", "manifests.yaml"]);
    // As good as one that was never interrupted.
    const whole = await runMirror(["pull", "--to", "whole.tar"], { cwd: work.path });
    expect(whole, whole.stderr).toMatchObject({ code: 0 });
    const compared = await run("cmp", [work.join("bundle.tar"), work.join("whole.tar")]);
    expect(compared).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  test("that is back within seconds is waited for", async () => {
    await using registry = await startDockerRegistry({ program, dir: folder.join("restarted") });
    const push = ["push", bundle, "--registry", registry.host, "--concurrency", "1"];
    await using running = await startMirror(push);
    await killInTheMiddle(registry, running, ["PUT", /\/blobs\/uploads\//]);
    const port = Number(registry.host.split(":")[1]);
    await using revived = await startDockerRegistry({ program, dir: registry.dir, port });
    const pushed = await running.result;
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect(await revived.accessLog.count("PUT", /\/blobs\/uploads\//)).toBeGreaterThan(0);
    await expectManifests({ skopeo, host: revived.host }, manifestsOf([long]));
  });
});
