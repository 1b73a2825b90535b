/** Ctrl-C and kill: the exit code, the way on, and a second run that completes. */
import { chmod, readFile, writeFile } from "node:fs/promises";
import { beforeEach, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunningMirror, runMirror, startMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

let folder: TempDir;
let source: TestRegistry;
let image: TestImage;
let name: string;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  image = await makeImage({ seed: "interrupt", layers: [40_000, 30_000, 20_000, 10_000] });
  seed(source, "team/app", "1.0", image);
  name = `${source.host}/team/app:1.0`;
  expect((await runMirror(["pull", name, "--to", folder.join("undisturbed.tar")])).code).toBe(0);
});
beforeEach(() => {
  source.clearFaults();
  source.resetLog();
});

/** Resolves when the program, one transfer at a time, asks for the smallest layer; that is never answered. */
function lastLayerAsked(): Promise<void> {
  return new Promise((resolve) => {
    source.customFault("never answered", {
      methods: ["GET"],
      path: new RegExp(`/blobs/${image.layers[3]?.descriptor.digest}$`),
      intercept: () => {
        resolve();
        return { status: 0, held: true };
      },
    });
  });
}

const blobGets = (): number => source.count("GET", /\/blobs\//);

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 130],
  ["SIGKILL", null],
] as const)("a pull that %s ends goes on from there", async (signal, code) => {
  const to = folder.join(`${signal}.tar`);
  const args = ["pull", name, "--to", to, "--concurrency", "1"];
  const asked = lastLayerAsked();
  {
    await using running = await startMirror(args);
    await asked;
    // Small blobs are noted together, a moment after they are whole; the manifest is the first.
    await expect
      .poll(async () => (await readFile(`${to}.part.journal`, "utf8")).match(/"whole"/g)?.length)
      .toBe(4);
    running.kill(signal);
    const result = await running.result;
    expect(result.code).toBe(code);
    if (code !== null) {
      expect(result.stderr).toContain(
        `Error: interrupted\n  hint: run it again to go on: mirror ${args.join(" ")}`,
      );
      expect(result.stderr).not.toMatch(/^failed|^ +at /m);
    }
  }
  source.clearFaults();
  source.resetLog();
  const again = await runMirror(args);
  expect(again.code, again.stderr).toBe(0);
  expect(again.stderr).toMatch(/reused 3 /);
  // The smallest layer, and the config, which comes after it.
  expect(blobGets()).toBe(2);
  expect((await readFile(to)).equals(await readFile(folder.join("undisturbed.tar")))).toBe(true);
});

test("an interrupted --json is one object, too", async () => {
  const asked = lastLayerAsked();
  const args = ["pull", name, "--to", folder.join("json.tar"), "--concurrency", "1", "--json"];
  await using running = await startMirror(args);
  await asked;
  running.kill("SIGINT");
  const { code, stdout } = await running.result;
  expect(code).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "INTERRUPTED", hint: expect.any(String) } });
});

test("an interrupted sync leaves no tag behind, and a second one completes", async () => {
  await using target = await startRegistry();
  const asked = lastLayerAsked();
  const args = ["sync", name, "--registry", target.host, "--concurrency", "1"];
  {
    await using running = await startMirror(args);
    await asked;
    running.kill("SIGINT");
    expect((await running.result).code).toBe(130);
  }
  expect(target.tags("team/app")).toEqual([]);
  source.clearFaults();
  expect((await runMirror(args)).code).toBe(0);
  expect([target.tags("team/app"), incompleteTags(target)]).toEqual([["1.0"], []]);
});

/** A bundle of the image, for what pushes it. */
const bundle = (): string => folder.join("undisturbed.tar");

test("an interrupted push takes back the uploads that it has begun", async () => {
  await using target = await startRegistry();
  const asked = new Promise<void>((resolve) => {
    target.customFault("never answered", {
      methods: ["PUT", "PATCH"],
      path: /\/blobs\/uploads\//,
      intercept: () => {
        resolve();
        return { status: 0, held: true };
      },
    });
  });
  await using running = await startMirror(["push", bundle(), "--registry", target.host]);
  await asked;
  running.kill("SIGINT");
  expect((await running.result).code).toBe(130);
  expect(target.count("DELETE", /\/blobs\/uploads\//)).toBeGreaterThan(0);
  expect(target.openUploads).toBe(0);
});

test("Ctrl-C does not wait until a registry that limits requests may be asked again", async () => {
  await using target = await startRegistry();
  const limited = new Promise<void>((resolve) => {
    target.customFault("limited", {
      methods: ["PUT", "PATCH"],
      path: /\/blobs\/uploads\//,
      intercept: () => {
        resolve();
        return { status: 429, headers: { "retry-after": "60" } };
      },
    });
  });
  await using running = await startMirror(["push", bundle(), "--registry", target.host]);
  await limited;
  await running.until(/retrying/);
  running.kill("SIGINT");
  expect((await running.result).code).toBe(130);
}, 15_000);

test("a command that fails does not go on asking for what else it had begun", async () => {
  await using registry = await startRegistry();
  const [there, lost] = [await makeImage({ seed: "there" }), await makeImage({ seed: "lost" })];
  const index = makeIndex([there, lost]);
  seed(registry, "team/index", undefined, there);
  registry.putManifest("team/index", "1.0", index.manifest, index.descriptor.mediaType);
  const asked = new Promise<void>((resolve) => {
    registry.customFault("never answered", {
      path: new RegExp(`/manifests/${there.descriptor.digest}$`),
      intercept: () => {
        resolve();
        return { status: 0, held: true };
      },
    });
  });
  registry.customFault("answered once the other one is under way", {
    path: new RegExp(`/manifests/${lost.descriptor.digest}$`),
    intercept: async () => {
      await asked;
      return { status: 403 };
    },
  });
  const { code, stderr } = await runMirror(["inspect", `${registry.host}/team/index:1.0`]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^Error: Cannot .*answered 403/m);
  expect(stderr).not.toContain("retrying");
}, 15_000);

/** How long the program takes to end, in milliseconds. Whatever keeps it alive in these tests does so for longer. */
async function endOf(running: RunningMirror): Promise<number> {
  const since = performance.now();
  running.kill("SIGINT");
  expect((await running.result).code).toBe(130);
  return performance.now() - since;
}

test("a credential helper that hangs does not outlive Ctrl-C, nor make it wait", async () => {
  await using guarded = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret" } } });
  const [helper, pidFile] = [folder.join("docker-credential-slow"), folder.join("helper.pid")];
  await writeFile(helper, `#!/bin/sh\necho $$ > ${pidFile}\nexec sleep 60\n`);
  await chmod(helper, 0o755);
  await writeFile(folder.join("config.json"), '{"credsStore":"slow"}');
  const env = { PATH: `${folder.path}:${process.env["PATH"]}`, DOCKER_CONFIG: folder.path };
  const args = [
    "pull",
    `${guarded.host}/a:1`,
    "--to",
    folder.join("helper.tar"),
    "--plain-http",
    guarded.host,
  ];
  await using running = await startMirror(args, { env });
  const helperPid = async (): Promise<number> => Number(await readFile(pidFile, "utf8").catch(() => "0"));
  await expect.poll(helperPid, { timeout: 30_000 }).toBeGreaterThan(0);
  expect(await endOf(running)).toBeLessThan(15_000);
  const pid = await helperPid();
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
});

test("an upload that Ctrl-C ends is cancelled at the registry", async () => {
  await using target = await startRegistry();
  target.customFault("never answered", {
    methods: ["PUT"],
    path: /\/uploads\//,
    intercept: () => ({ status: 0, held: true }),
  });
  const args = ["push", folder.join("undisturbed.tar"), "--registry", target.host, "--concurrency", "2"];
  await using running = await startMirror(args);
  await expect.poll(() => target.count("PUT", /uploads/), { timeout: 30_000 }).toBe(2);
  await endOf(running);
  expect(target.openUploads).toBe(0);
});

test("an upload to cancel does not wait out the pause that the registry wants after Ctrl-C", async () => {
  await using target = await startRegistry();
  const args = ["push", folder.join("undisturbed.tar"), "--registry", target.host, "--concurrency", "2"];
  target.customFault("never answered", {
    methods: ["PUT"],
    path: /\/uploads\//,
    intercept: () => ({ status: 0, held: true }),
  });
  target.fault("rate-limit", { retryAfter: "100", skip: 1, match: { method: "POST" } });
  await using running = await startMirror(args);
  await running.until(/429/);
  await expect.poll(() => target.count("PUT", /uploads/), { timeout: 30_000 }).toBe(1);
  expect(await endOf(running)).toBeLessThan(15_000);
});
