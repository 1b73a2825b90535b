/** An upload that was cut off by whatever ends a program: the next run goes on where the registry says that it stands. */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunningMirror, type RunResult, runMirror, startMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

const chunk = 1_000_000;
let folder: TempDir;
let source: TestRegistry;
let image: TestImage;
let size: number;
let digest: string;

allTests(startWorkplace, async (made) => {
  ({ folder, registry: source } = made);
  image = await makeImage({ seed: "resume", layers: [3_500_000, 10_000] });
  seed(source, "team/app", "1.0", image);
  ({ size = 0, digest = "" } = { ...image.layers[0]?.descriptor });
  const name = `${source.host}/team/app:1.0`;
  expect((await runMirror(["pull", name, "--to", folder.join("bundle.tar")])).code).toBe(0);
});

let state: string;
let runs = 0;
beforeEach(() => {
  runs += 1;
  state = folder.join(`state-${runs}`);
});

/** The arguments of a push or a sync in chunks of a million bytes. */
async function copyTo(target: TestRegistry, command = "push"): Promise<readonly string[]> {
  // Nginx as many set it up: what is larger than this is refused, and what comes next is a million bytes.
  target.fault("body-limit", { bytes: 1_100_000 });
  if (command === "push") return ["push", folder.join("bundle.tar"), "--registry", target.host];
  const list = folder.join(`list-${runs}.yaml`);
  await writeFile(list, `version: 1\nimages:\n  - ${source.host}/team/app:1.0\n`);
  return ["sync", "-f", list, "--registry", target.host];
}

const env = (): Record<string, string> => ({ XDG_STATE_HOME: state });

/** Resolves when the registry has taken two chunks and `bytes` of the third one, which it goes no further with. */
function thirdChunk(target: TestRegistry, bytes: number): Promise<void> {
  return new Promise((onStall) => {
    target.fault("stall-upload", { bytes, onStall, skip: 2, times: 1, match: { method: "PATCH" } });
  });
}

/** Starts a copy and ends it in its third chunk. */
async function interrupted(
  target: TestRegistry,
  args: readonly string[],
  { bytes = 0, signal = "SIGKILL" }: { readonly bytes?: number; readonly signal?: NodeJS.Signals } = {},
): Promise<RunResult> {
  const reached = thirdChunk(target, bytes);
  await using running = await startMirror(args, { env: env() });
  await reached;
  running.kill(signal);
  const result = await running.result;
  target.resetLog();
  return result;
}

const records = async (): Promise<readonly string[]> => {
  const names = await readdir(join(state, "mirror/uploads")).catch(() => []);
  return names.map((name) => join(state, "mirror/uploads", name));
};
/** The path of the session in a record. */
async function sessionIn(record: string): Promise<string> {
  const { location } = JSON.parse(await readFile(record, "utf8")) as { readonly location: string };
  return new URL(location).pathname;
}
/** Bytes of content that the registry has taken in. */
const taken = (target: TestRegistry): number =>
  target.requests
    .filter(({ method, status }) => (method === "PATCH" || method === "PUT") && status < 300)
    .filter(({ path }) => path.includes("/uploads/"))
    .reduce((sum, { bytesIn }) => sum + bytesIn, 0);
/** What the run after it has to send: the rest of the large layer, and the small blobs unless they are there. */
const small = (): number =>
  [image.config, ...image.layers.slice(1)].reduce((sum, { bytes }) => sum + bytes.length, 0);

function expectComplete(target: TestRegistry, { code, stderr }: RunResult): void {
  expect(code, stderr).toBe(0);
  expect(target.tags("team/app")).toEqual(["1.0"]);
  expect(incompleteTags(target)).toEqual([]);
  expect(target.blob("team/app", digest)?.length).toBe(size);
}

describe("after kill -9", () => {
  test.each([
    ["push", "2.8", 0],
    ["push", "3", 300_000],
    ["sync", "2.8", 0],
    ["sync", "3", 300_000],
  ] as const)(
    "%s goes on in the session (dialect %s, %i bytes into a chunk)",
    async (command, dialect, bytes) => {
      await using target = await startRegistry({ dialect });
      const args = await copyTo(target, command);
      await interrupted(target, args, { bytes });
      const again = await runMirror(args, { env: env() });
      expectComplete(target, again);
      const rest = size - 2 * chunk - bytes;
      expect(taken(target)).toBeGreaterThanOrEqual(rest);
      expect(taken(target)).toBeLessThanOrEqual(rest + small());
      expect(target.openUploads).toBe(0);
      expect(await records()).toEqual([]);
      expect(again.stderr).not.toContain("begins anew");
    },
  );

  test("a push sends anew what the registry lost count of, and says so in one line", async () => {
    await using target = await startRegistry({ dialect: "2.8" });
    const args = await copyTo(target);
    await interrupted(target, args, { bytes: 300_000 });
    const again = await runMirror(args, { env: env() });
    expectComplete(target, again);
    expect(taken(target)).toBeGreaterThanOrEqual(size);
    const lines = again.stderr.split("\n").filter((line) => line.includes("begins anew"));
    expect(lines).toEqual([
      `warning: the upload of ${digest.slice(0, 19)} (3.3 MiB) to ${target.host}/team/app begins anew: ${target.host} does not tell how far it got (404)`,
    ]);
    expect(await records()).toEqual([]);
  });
});

describe("the record of an upload", () => {
  test("is for its user's eyes only, and holds no credential", async () => {
    const auth = { type: "basic", users: { ada: "s3cret" } } as const;
    await using target = await startRegistry({ auth });
    const args = [...(await copyTo(target)), "--plain-http", target.host];
    const reached = thirdChunk(target, 0);
    const login = { MIRROR_USERNAME: "ada", MIRROR_PASSWORD: "s3cret" };
    await using running = await startMirror(args, { env: { ...env(), ...login } });
    await reached;
    const [path = ""] = await records();
    const text = await readFile(path, "utf8");
    expect(JSON.parse(text)).toMatchObject({
      version: 1,
      digest,
      offset: 2 * chunk,
      owner: { pid: running.pid },
    });
    expect(text).not.toMatch(/s3cret|YWRhOnMzY3JldA/);
    const mode = async (name: string): Promise<number> => (await stat(name)).mode & 0o777;
    expect(await mode(path)).toBe(0o600);
    for (const name of ["mirror", "mirror/uploads"]) expect(await mode(join(state, name))).toBe(0o700);
    // Small blobs are noted together, a moment after they are stored.
    const stored = async (): Promise<readonly string[]> =>
      await readdir(join(state, "mirror/stored")).catch(() => []);
    await expect.poll(stored).toHaveLength(1);
    expect(await mode(join(state, "mirror/stored"))).toBe(0o700);
    expect(await mode(join(state, "mirror/stored", (await stored()).join()))).toBe(0o600);
  });

  test("of a process that lives is left alone", async () => {
    await using target = await startRegistry({ dialect: "3" });
    const args = await copyTo(target);
    const reached = thirdChunk(target, 0);
    await using first = await startMirror(args, { env: env() });
    await reached;
    const before = await records();
    const second = await runMirror(args, { env: env() });
    expectComplete(target, second);
    const pathname = await sessionIn(before[0] ?? "");
    const inSession = target.requests.filter(({ path }) => path === pathname);
    expect(inSession.map(({ method }) => method)).toEqual(["PATCH", "PATCH", "PATCH"]);
    expect(await records()).toEqual(before);
    expect(first.child.exitCode).toBeNull();
  });

  test("is taken by one of two processes", async () => {
    await using target = await startRegistry({ dialect: "3" });
    const args = await copyTo(target);
    await interrupted(target, args);
    const pathname = await sessionIn((await records())[0] ?? "");
    const both = await Promise.all([1, 2].map(async () => await runMirror(args, { env: env() })));
    for (const result of both) expectComplete(target, result);
    // What is sent to it twice, or at the same time, the registry refuses with 416, or has too much of in the end.
    const inSession = target.requests.filter((request) => request.path === pathname);
    expect(inSession.filter(({ status }) => ![201, 202, 204, 413].includes(status))).toEqual([]);
    const sent = inSession.filter(({ method, status }) => method !== "GET" && status < 300);
    expect(sent.reduce((sum, { bytesIn }) => sum + bytesIn, 0)).toBe(size - 2 * chunk);
    expect(await records()).toEqual([]);
  });

  test("that cannot be written costs one warning", async () => {
    await using target = await startRegistry({ dialect: "3" });
    const args = await copyTo(target);
    // No folder can be made in a file, not by root either.
    state = folder.join("bundle.tar");
    const result = await runMirror(args, { env: env() });
    expectComplete(target, result);
    expect(result.stderr.match(/cannot be noted/g)).toHaveLength(1);
    expect(result.stderr).toContain(`${state}/mirror/`);
  });
});

describe("what an image has that was complete", () => {
  test.each(["push", "sync"])("is mounted by a later %s, and not sent again", async (command) => {
    await using from = await startRegistry();
    await using target = await startRegistry();
    const shared = await makeRandomLayer("shared", 200_000);
    const names = ["team/one", "team/two"];
    for (const name of names)
      seed(from, name, "1.0", await makeImage({ seed: name, layers: [shared, 5000] }));
    const [one = "", two = ""] = names.map((name) => `${from.host}/${name}:1.0`);
    const argsFor = async (image: string): Promise<readonly string[]> => {
      if (command === "sync") return ["sync", image, "--registry", target.host];
      const to = folder.join(`${runs}-${image.includes("one") ? 1 : 2}.tar`);
      expect((await runMirror(["pull", image, "--to", to])).code).toBe(0);
      return ["push", to, "--registry", target.host];
    };
    const tagged = new Promise<void>((resolve) => {
      target.customFault("the answer to the tag never comes", {
        methods: ["PUT"],
        path: /\/manifests\/1\.0$/,
        transform: (reply) => {
          resolve();
          return { ...reply, held: true };
        },
      });
    });
    {
      await using running = await startMirror(await argsFor(one), { env: env() });
      await tagged;
      running.kill("SIGKILL");
      await running.result;
    }
    expect(target.tags("team/one")).toEqual(["1.0"]);
    target.clearFaults();
    target.resetLog();
    const again = await runMirror(await argsFor(two), { env: env() });
    expect(again.code, again.stderr).toBe(0);
    expect(incompleteTags(target)).toEqual([]);
    expect(target.tags("team/two")).toEqual(["1.0"]);
    expect(taken(target)).toBeLessThan(20_000);
  });
});

describe("an upload that ends with its program", () => {
  test.each([
    ["SIGINT", "2.8"],
    ["SIGTERM", "3"],
  ] as const)(
    "by %s is kept where the registry tells how far it got (dialect %s)",
    async (signal, dialect) => {
      await using target = await startRegistry({ dialect });
      const args = await copyTo(target);
      const { code } = await interrupted(target, args, { signal });
      expect(code).toBe(130);
      expect(await records()).toHaveLength(1);
      expect(target.openUploads).toBe(1);
      expectComplete(target, await runMirror(args, { env: env() }));
      expect(taken(target)).toBeLessThanOrEqual(size - 2 * chunk + small());
    },
  );

  test("by Ctrl-C is cancelled where it does not", async () => {
    await using target = await startRegistry({ dialect: "2.8" });
    const args = await copyTo(target);
    const reached = thirdChunk(target, 300_000);
    await using running = await startMirror(args, { env: env() });
    await reached;
    running.kill("SIGINT");
    expect((await running.result).code).toBe(130);
    // The first one is that of the request that was too large.
    expect(target.count("DELETE", /\/uploads\//)).toBe(2);
    expect(await records()).toEqual([]);
  });

  test("by Ctrl-C in a single request is kept if a megabyte has arrived", async () => {
    await using target = await startRegistry({ dialect: "3" });
    const args = ["push", folder.join("bundle.tar"), "--registry", target.host];
    const path = /\/uploads\//;
    const reached = new Promise<void>((onStall) => {
      target.fault("stall-upload", { bytes: 2_000_000, onStall, times: 1, match: { method: "PUT", path } });
    });
    {
      await using running: RunningMirror = await startMirror(args, { env: env() });
      await reached;
      running.kill("SIGINT");
      expect((await running.result).code).toBe(130);
    }
    expect(await records()).toHaveLength(1);
    target.resetLog();
    expectComplete(target, await runMirror(args, { env: env() }));
    expect(taken(target)).toBeLessThanOrEqual(size - 2_000_000 + small());
  });

  test("because the registry stays away goes on in the next run", async () => {
    await using target = await startRegistry({ dialect: "3" });
    const args = [...(await copyTo(target)), "--patience", "0"];
    const away = target.fault("status", { status: 503, skip: 2, match: { method: "PATCH" } });
    const failed = await runMirror(args, { env: env() });
    expect(failed.code, failed.stderr).toBe(1);
    expect(await records()).toHaveLength(1);
    away.remove();
    target.resetLog();
    expectComplete(target, await runMirror(args, { env: env() }));
    expect(taken(target)).toBeLessThanOrEqual(size - 2 * chunk + small());
  });
});
