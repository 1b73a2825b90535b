/** Pull-through mirrors of a list: what comes from where, whatever is wrong with them. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AuthOptions } from "../registry/auth.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { refusedHost } from "../registry-client/raw-server.ts";
import { type RunOptions, type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, makeIndex, seed, type TestIndex } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let origin: TestRegistry;
let hub: TestRegistry;
let index: TestIndex;

beforeEach(async () => {
  folder = await tempDir();
  origin = await startRegistry();
  hub = await startRegistry();
  index = makeIndex([
    await makeImage({ seed: "amd64", layers: [3000, 2000] }),
    await makeImage({ seed: "arm64", platform: "linux/arm64", layers: [4000] }),
  ]);
  seed(origin, "team/app", "1.0", index);
});
afterEach(async () => {
  await origin.close();
  await hub.close();
  await folder[Symbol.asyncDispose]();
});

interface ListOptions {
  readonly mirrors?: readonly string[];
  readonly images?: readonly string[];
  /** Further lines under `registries`. */
  readonly more?: readonly string[];
}

async function list({
  mirrors = [`${hub.host}/hub`],
  images = ["team/app:1.0"],
  more = [],
}: ListOptions = {}) {
  const lines = [
    "version: 1",
    "registries:",
    `  ${origin.host}: {plainHttp: true, mirrors: [${mirrors.map((mirror) => JSON.stringify(mirror)).join(", ")}]}`,
    ...more.map((line) => `  ${line}`),
    "images:",
    ...images.map((image) => `  - ${origin.host}/${image}`),
  ];
  await writeFile(folder.join("manifests.yaml"), `${lines.join("\n")}\n`);
}
const mirror = async (args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path, ...options });
const pull = async (to: string): Promise<RunResult> => await mirror(["pull", "--to", to]);
/** The bundle that a pull without mirrors writes. */
async function direct(): Promise<Buffer> {
  await list({ mirrors: [] });
  expect((await pull("direct.tar")).code).toBe(0);
  origin.resetLog();
  return await readFile(folder.join("direct.tar"));
}
async function expectSame(wanted: Buffer): Promise<void> {
  expect((await readFile(folder.join("bundle.tar"))).equals(wanted)).toBe(true);
}
const content = (registry: TestRegistry): number => registry.count("GET", /\/(blobs|manifests)\//);
const warnings = (result: RunResult): readonly string[] =>
  result.stderr.match(/^warning: the mirror.*$/gm) ?? [];

describe("a mirror", () => {
  test("that has an image gives all of it; the registry is not asked, and the names are its own", async () => {
    const wanted = await direct();
    await list();
    seed(hub, "hub/team/app", "1.0", index);
    const result = await pull("bundle.tar");
    expect(result.code, result.stderr).toBe(0);
    expect(warnings(result)).toEqual([]);
    await expectSame(wanted);
    expect(origin.requests).toEqual([]);
    expect((await mirror(["ls", "bundle.tar"])).stdout).toContain(`${origin.host}/team/app:1.0`);
  });

  test("serves plan and sync, too", async () => {
    await list();
    seed(hub, "hub/team/app", "1.0", index);
    await using target = await startRegistry();
    const plan = await mirror(["plan", "--json"]);
    expect(JSON.parse(plan.stdout)).toMatchObject({ images: [{ image: `${origin.host}/team/app:1.0` }] });
    const result = await mirror(["sync", "--registry", target.host]);
    expect(result.code, result.stderr).toBe(0);
    expect(target.tags("team/app")).toEqual(["1.0"]);
    expect(origin.requests).toEqual([]);
  });

  test("that has no such image is passed over without a word", async () => {
    const wanted = await direct();
    await list();
    const result = await pull("bundle.tar");
    expect(result.code, result.stderr).toBe(0);
    expect(warnings(result)).toEqual([]);
    await expectSame(wanted);
    expect(hub.count("GET", /hub\/team\/app\/manifests\/1\.0/)).toBe(1);
  });

  test("that lacks a blob is helped out by the registry, with that blob alone", async () => {
    const wanted = await direct();
    await list();
    seed(hub, "hub/team/app", "1.0", index);
    const [child] = index.children;
    const layer = child?.kind === "image" ? child.layers[0]?.descriptor.digest : undefined;
    expect(hub.deleteBlob("hub/team/app", layer ?? "")).toBe(true);
    expect((await pull("bundle.tar")).code).toBe(0);
    await expectSame(wanted);
    expect(origin.requests.filter(({ path }) => path !== "/v2/").map(({ path }) => path)).toEqual([
      `/v2/team/app/blobs/${layer}`,
    ]);
  });

  test.each(["pull", "sync"])(
    "whose blobs are damaged is told, and the registry serves: %s",
    async (verb) => {
      const wanted = await direct();
      await list();
      seed(hub, "hub/team/app", "1.0", index);
      hub.fault("corrupt-blob");
      await using target = await startRegistry();
      const to = verb === "pull" ? ["--to", "bundle.tar"] : ["--registry", target.host];
      const result = await mirror([verb, ...to]);
      expect(result.code, result.stderr).toBe(0);
      expect(warnings(result).length).toBeGreaterThan(0);
      if (verb === "pull") await expectSame(wanted);
      else expect(target.tags("team/app")).toEqual(["1.0"]);
    },
  );

  test.each([
    ["corrupt-manifest", {}],
    ["status", { status: 401 }],
    ["status", { status: 403 }],
    ["status", { status: 500, times: 5, match: { path: /manifests/ } }],
    ["drop-body-after", { bytes: 0 }],
    ["web-page", {}],
  ] as const)("with %s %o is no obstacle", async (name, options) => {
    const wanted = await direct();
    await list();
    seed(hub, "hub/team/app", "1.0", index);
    hub.fault(name, options);
    const result = await pull("bundle.tar");
    expect(result.code, result.stderr).toBe(0);
    await expectSame(wanted);
  });

  test("that cannot be reached is noticed once, and the next one is asked", async () => {
    const wanted = await direct();
    const gone = await refusedHost();
    await list({ mirrors: [gone, `${hub.host}/hub`], images: ["team/app:1.0", "team/other:1.0"] });
    seed(origin, "team/other", "1.0", await makeImage({ seed: "other" }));
    seed(hub, "hub/team/app", "1.0", index);
    const result = await pull("two.tar");
    expect(result.code, result.stderr).toBe(0);
    expect(warnings(result)).toHaveLength(1);
    expect(warnings(result)[0]).toContain(gone);
    expect(origin.count("GET", /team\/app/)).toBe(0);
    await list({ mirrors: [gone] });
    expect((await pull("bundle.tar")).code).toBe(0);
    await expectSame(wanted);
  });

  test("is not to blame for what nobody has", async () => {
    await list({ images: ["team/app:absent"] });
    const result = await pull("bundle.tar");
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(`Cannot find ${origin.host}/team/app:absent`);
    expect(result.stderr).not.toContain(`${hub.host}/`);
  });

  test("alone is enough where the registry cannot be reached", async () => {
    await list();
    seed(hub, "hub/team/app", "1.0", index);
    await origin.close();
    const result = await pull("bundle.tar");
    expect(result.code, result.stderr).toBe(0);
    expect(warnings(result)).toEqual([]);
  });
});

describe("credentials", () => {
  const auth = (password: string): AuthOptions => ({ type: "basic", users: { ada: password } });
  test("of the registry go to the registry, and those of the mirror to the mirror", async () => {
    await using closed = await startRegistry({ auth: auth("of-the-origin") });
    await using proxy = await startRegistry({ auth: auth("of-the-mirror") });
    await using open = await startRegistry();
    seed(closed, "team/app", "1.0", index);
    const encoded = (password: string): string => Buffer.from(`ada:${password}`).toString("base64");
    const auths = {
      [closed.host]: { auth: encoded("of-the-origin") },
      [proxy.host]: { auth: encoded("of-the-mirror") },
    };
    await mkdir(folder.join("docker"));
    await writeFile(folder.join("docker/config.json"), JSON.stringify({ auths }));
    await writeFile(
      folder.join("manifests.yaml"),
      `version: 1
registries:
  ${closed.host}: {plainHttp: true, mirrors: ["${open.host}", "${proxy.host}/hub"]}
  ${proxy.host}: {plainHttp: true}
  ${open.host}: {plainHttp: true}
images: ["${closed.host}/team/app:1.0"]
`,
    );
    const env = { DOCKER_CONFIG: folder.join("docker") };
    const result = await mirror(["pull", "--to", "bundle.tar"], { env });
    expect(result.code, result.stderr).toBe(0);
    const sent = (registry: TestRegistry): ReadonlySet<string | undefined> =>
      new Set(registry.requests.flatMap(({ headers }) => headers.authorization ?? []));
    expect(sent(open)).toEqual(new Set());
    expect(sent(proxy)).toEqual(new Set([`Basic ${encoded("of-the-mirror")}`]));
    expect(sent(closed)).toEqual(new Set([`Basic ${encoded("of-the-origin")}`]));
    expect(content(proxy)).toBeGreaterThan(0);
  });
});

describe("limits", () => {
  /** How many blobs a registry sent at the same time, at most. It sends none before so many are asked for as are expected. */
  function atATime(registry: TestRegistry, expected: number): () => number {
    let active = 0;
    let most = 0;
    const reached = Promise.withResolvers<void>();
    registry.customFault("watched", {
      methods: ["GET"],
      path: /\/blobs\//,
      intercept: async () => {
        active += 1;
        most = Math.max(most, active);
        if (most >= expected) reached.resolve();
        await reached.promise;
        // Time for one too many.
        for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        active -= 1;
        return undefined;
      },
    });
    return () => most;
  }

  test.each([
    ["1", 1],
    ["2", 2],
  ])("of a mirror hold: %s at a time", async (concurrency, most) => {
    const image = await makeImage({ layers: [5000, 5001, 5002, 5003, 5004, 5005] });
    seed(origin, "team/app", "1.0", image);
    seed(hub, "hub/team/app", "1.0", image);
    await list({ more: [`${hub.host}: {concurrency: ${concurrency}}`] });
    const sentAtATime = atATime(hub, most);
    expect((await pull("bundle.tar")).code).toBe(0);
    expect(sentAtATime()).toBe(most);
  });

  test("of the registry hold where it helps out", async () => {
    const image = await makeImage({ layers: [5000, 5001, 5002, 5003] });
    seed(origin, "team/app", "1.0", image);
    await list();
    const text = await readFile(folder.join("manifests.yaml"), "utf8");
    await writeFile(
      folder.join("manifests.yaml"),
      text.replace("plainHttp: true,", "plainHttp: true, concurrency: 1,"),
    );
    const sentAtATime = atATime(origin, 1);
    expect((await pull("bundle.tar")).code).toBe(0);
    expect(sentAtATime()).toBe(1);
  });
});

describe("in the list", () => {
  test.each([
    ["https://m.internal", "begins with https://"],
    ["m.internal/UPPER", "cannot begin a repository name"],
    ["not a host", "is not host[:port]"],
  ])("%s is refused, with its place", async (text, words) => {
    await list({ mirrors: [text] });
    const result = await pull("bundle.tar");
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/manifests\.yaml:3:\d+/);
    expect(result.stderr).toContain(words);
  });

  test("two lists that contradict each other are told", async () => {
    await list();
    const other = `version: 1\nregistries: {"${origin.host}": {mirrors: ["other.internal"]}}\nimages: [nginx]\n`;
    await writeFile(folder.join("other.yaml"), other);
    const result = await mirror(["plan", "-f", "manifests.yaml", "-f", "other.yaml"]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain(
      `mirrors of ${origin.host} is other.internal here and ${hub.host}/hub at`,
    );
  });
});
