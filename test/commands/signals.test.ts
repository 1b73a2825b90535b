/** Ctrl-C and SIGTERM in every command and phase: the end comes soon, is told once, and says how to go on. */
import { execFileSync } from "node:child_process";
import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunningMirror, runMirror, startMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

/** Two seconds are promised, and some more are for a machine that has other things to do. Milliseconds. */
const soonMs = 3_500;

let folder: TempDir;
let source: TestRegistry;
let name: string;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  seed(source, "team/app", "1.0", await makeImage({ seed: "signals", layers: [400_000, 400_001] }));
  name = `${source.host}/team/app:1.0`;
  expect((await runMirror(["pull", name, "--to", folder.join("bundle.tar")])).code).toBe(0);
});
beforeEach(() => source.clearFaults());

/** Never answers such requests; resolves with the first of them. */
async function held(registry: TestRegistry, methods: string, path: RegExp): Promise<void> {
  return await new Promise((resolve) => {
    registry.customFault("never answered", {
      methods: methods.split(" "),
      path,
      intercept: () => {
        resolve();
        return { status: 0, held: true };
      },
    });
  });
}

/** Sends the signal, and expects the end. */
async function expectEnd(
  running: RunningMirror,
  signal: NodeJS.Signals,
  args: readonly string[],
): Promise<void> {
  const since = performance.now();
  running.kill(signal);
  const { code, signal: ended, stderr } = await running.result;
  expect(performance.now() - since, stderr).toBeLessThan(soonMs);
  // A shell takes the one for the other.
  expect(code ?? ended).toBe(code === null ? "SIGINT" : 130);
  expect(stderr.match(/^Error: /gm), stderr).toHaveLength(1);
  expect(stderr).toContain(`Error: interrupted\n  hint: run it again to go on: mirror ${args.join(" ")}`);
  expect(stderr).not.toMatch(/^failed|^ +at /m);
}

const all = /^/;
const phases: readonly (readonly [string, (host: string) => string, string, RegExp])[] = [
  ["pull while it connects", (host) => `pull ${host}/team/app:1.0 --to x.tar`, "GET", /^\/v2\/$/],
  ["pull while it resolves", (host) => `pull ${host}/team/app:1.0 --to x.tar`, "GET HEAD", /\/manifests\//],
  ["pull while it fetches", (host) => `pull ${host}/team/app:1.0 --to x.tar`, "GET", /\/blobs\//],
  ["plan while it resolves", (host) => `plan ${host}/team/app:1.0`, "GET HEAD", /\/manifests\//],
  ["inspect", (host) => `inspect ${host}/team/app:1.0`, "GET HEAD", /\/manifests\//],
  ["inspect while it reads the config", (host) => `inspect ${host}/team/app:1.0`, "GET", /\/blobs\//],
  ["ls of a registry", (host) => `ls ${host}`, "GET", /\/_catalog/],
  ["ls of a repository", (host) => `ls ${host}/team/app`, "GET", /\/tags\/list/],
  ["login", (host) => `login ${host} --username u --password-stdin`, "GET", all],
];

test.each(phases)("%s", async (_, command, methods, path) => {
  const args = command(source.host).split(" ");
  const asked = held(source, methods, path);
  await using running = await startMirror(args, { stdin: "secret" });
  await asked;
  await expectEnd(running, "SIGINT", args);
});

const toTarget: readonly (readonly [string, string, string, RegExp])[] = [
  ["push while it connects", "push bundle.tar", "GET", /^\/v2\/$/],
  ["push while it asks", "push bundle.tar", "HEAD GET", /\/manifests\//],
  ["push while it begins an upload", "push bundle.tar", "POST", all],
  ["push while it uploads", "push bundle.tar", "PUT PATCH", /\/uploads\//],
  ["push while it writes a manifest", "push bundle.tar", "PUT", /\/manifests\//],
  ["push while uploads cannot be cancelled", "push bundle.tar", "PUT PATCH DELETE", /\/uploads\//],
  ["verify of a registry", "verify bundle.tar", "HEAD GET", /\/manifests\//],
];

test.each(toTarget)("%s", async (_, command, methods, path) => {
  await using target = await startRegistry();
  const args = [...command.split(" "), "--registry", target.host];
  const asked = held(target, methods, path);
  await using running = await startMirror(args, { cwd: folder.path });
  await asked;
  await expectEnd(running, "SIGTERM", args);
});

test("sync while it waits for a registry that is away", async () => {
  await using target = await startRegistry();
  target.fault("status", { status: 503, match: { method: "POST" } });
  const args = ["sync", name, "--registry", target.host];
  await using running = await startMirror(args);
  await running.until(/^retrying/m);
  await expectEnd(running, "SIGINT", args);
});

test("pull while it waits for the end of its list", async () => {
  const args = ["pull", "--file", "-", "--to", "x.tar"];
  await using running = await startMirror(args, { stdinStaysOpen: true });
  // More than a pipe holds: once all of it is written, the program reads.
  await new Promise((resolve) => running.child.stdin.write("# and so on\n".repeat(50_000), resolve));
  await expectEnd(running, "SIGINT", args);
});

test("logout while a credential helper hangs", async () => {
  await using home = await tempDir();
  await writeFile(
    home.join("docker-credential-slow"),
    `#!/bin/sh\necho > ${home.path}/asked\nexec sleep 60\n`,
  );
  await chmod(home.join("docker-credential-slow"), 0o755);
  await writeFile(home.join("config.json"), '{"credsStore":"slow"}');
  const args = ["logout", source.host];
  const env = { PATH: `${home.path}:${process.env["PATH"]}`, DOCKER_CONFIG: home.path };
  await using running = await startMirror(args, { env });
  await expect.poll(async () => await readdir(home.path), { timeout: 30_000 }).toContain("asked");
  await expectEnd(running, "SIGINT", args);
});

test("a pull whose messages nobody can read any more goes on to its end", async () => {
  const to = folder.join("unheard.tar");
  const { promise: open, resolve: release } = Promise.withResolvers<undefined>();
  const asked = new Promise<void>((resolve) => {
    source.customFault("answered later", {
      methods: ["GET"],
      path: /\/blobs\//,
      intercept: async () => {
        resolve();
        return await open;
      },
    });
  });
  await using running = await startMirror(["pull", name, "--to", to]);
  await asked;
  running.child.stderr.destroy();
  release(undefined);
  expect((await running.result).code).toBe(0);
  expect((await runMirror(["verify", to])).code).toBe(0);
});

/** Where opening a file hangs, as all does on a network file system whose server is away. */
describe.runIf(process.platform === "linux")("on a disk that hangs", () => {
  let args: readonly string[];
  beforeAll(() => {
    execFileSync("mkfifo", [folder.join("hanging")]);
    args = ["pull", "--file", folder.join("hanging"), "--to", folder.join("x.tar")];
  });

  test("it ends all the same", async () => {
    await using running = await startMirror(args);
    await hangs(running.pid);
    await expectEnd(running, "SIGINT", args);
  });

  test("a second signal ends it at once", async () => {
    await using running = await startMirror(args);
    await hangs(running.pid);
    const since = performance.now();
    running.kill("SIGINT");
    // Until it has come: what is sent too soon after the first one is taken for the same.
    const again = setInterval(() => running.kill("SIGINT"), 60);
    const { code, signal, stderr } = await running.result.finally(() => clearInterval(again));
    expect(performance.now() - since, stderr).toBeLessThan(1_200);
    expect(code ?? signal).toBe(code === null ? "SIGINT" : 130);
    expect(stderr.match(/^Error: interrupted$/gm), stderr).toHaveLength(1);
  });
});

/** Waits until a thread of a program waits for the other end of a pipe. */
async function hangs(pid: number): Promise<void> {
  const tasks = `/proc/${pid}/task`;
  const waiting = async (): Promise<readonly string[]> =>
    await Promise.all(
      (await readdir(tasks)).map(async (task) => await readFile(`${tasks}/${task}/wchan`, "utf8")),
    );
  await expect.poll(waiting, { timeout: 30_000 }).toContain("wait_for_partner");
}
