/** A delta meets a target that is not as the one it was made for: other names, other registries, hostile words. */
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { allTests, eachTest } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const common = await makeRandomLayer("common", 300_000);
const api = await makeImage({ seed: "api", layers: [common, 10_000] });
const job = await makeImage({ seed: "job", layers: [common, 5_000] });

let source: TestRegistry;
let target: TestRegistry;
let folder: TempDir;

allTests(startRegistry, (registry) => {
  source = registry;
});
eachTest(startRegistry, (registry) => {
  target = registry;
});
eachTest(tempDir, (made) => {
  folder = made;
});

/** One machine: what a run notes is there for the next one. */
const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path, env: { XDG_STATE_HOME: folder.join("state") } });

async function done(...args: readonly string[]): Promise<RunResult> {
  const result = await mirror(...args);
  expect(result.code, `mirror ${args.join(" ")}\n${result.stderr}`).toBe(0);
  return result;
}

async function pull(name: string, image: TestImage, to: string, ...flags: readonly string[]): Promise<void> {
  seed(source, name, "1.0", image);
  await done("pull", `${source.host}/${name}:1.0`, "--to", to, ...flags);
}

/** What came into the target as uploads, in bytes. */
const sent = (): number => target.requests.reduce((sum, { bytesIn }) => sum + bytesIn, 0);

describe("what it leans on is found and mounted", () => {
  // The job needs what only the api has brought, and the api is not in the delta.
  beforeEach(async () => {
    await pull("team/api", api, "october.tar");
    await pull("team/job", job, "november.tar", "--base", "october.tar");
  });

  test.each([
    [
      "with the same --name",
      "/",
      ["--name", "{registry}/{repository}"],
      "/",
      ["--name", "{registry}/{repository}"],
    ],
    [
      "with the same --name and a prefix",
      "/far",
      ["--name", "x/{repository}"],
      "/far",
      ["--name", "x/{repository}"],
    ],
    ["where the base went without the prefix", "", [], "/far", []],
    ["where the base went without --name", "", [], "", ["--name", "{registry}/{repository}"]],
  ])("%s", async (_, before, beforeFlags, now, nowFlags) => {
    const at = (path: string): string => `${target.host}${path === "/" ? "" : path}`;
    await done("push", "october.tar", "--registry", at(before), ...beforeFlags);
    await rm(folder.join("state"), { recursive: true, force: true });
    target.resetLog();
    const result = await done("push", "november.tar", "--registry", at(now), ...nowFlags);
    expect(result.stderr).toMatch(/mounted 1 /);
    expect(sent()).toBeLessThan(15_000);
    expect(incompleteTags(target)).toEqual([]);
  });

  test.each([
    ["under another prefix", "/old", [], "/new", []],
    ["under a prefix, and now without", "/old", [], "", []],
    ["under another --name", "", ["--name", "x/{repository}"], "", ["--name", "y/{repository}"]],
  ])("where this machine has pushed the base %s", async (_, before, beforeFlags, now, nowFlags) => {
    await done("push", "october.tar", "--registry", `${target.host}${before}`, ...beforeFlags);
    target.resetLog();
    const to = ["--registry", `${target.host}${now}`, ...nowFlags];
    const result = await done("push", "november.tar", ...to);
    expect(result.stderr).toMatch(/mounted 1 /);
    expect(sent()).toBeLessThan(15_000);
    expect(incompleteTags(target)).toEqual([]);
    await done("verify", "november.tar", ...to);
  });

  test("or read from there, where the registry mounts nothing", async () => {
    await done("push", "october.tar", "--registry", `${target.host}/old`);
    target.fault("refuse-mount");
    await done("push", "november.tar", "--registry", `${target.host}/new`);
    expect(incompleteTags(target)).toEqual([]);
  });
});

describe("a delta by the receipt of another registry", () => {
  test("goes where the same content is, and otherwise says whose receipt it was", async () => {
    await using other = await startRegistry();
    await pull("team/api", api, "october.tar");
    await done("push", "october.tar", "--registry", other.host);
    await done("receipt", "--registry", other.host, "--to", "receipt.json");
    await pull("team/job", job, "november.tar", "--base", "receipt.json");
    const early = await mirror("push", "november.tar", "--registry", target.host);
    expect(early.code).toBe(1);
    expect(early.stderr).toContain(`which ${other.host} (by receipt.json) had`);
    expect(early.stderr).toContain(
      `the delta was made for ${other.host}: push it there, or pull again with a new receipt of ${target.host}`,
    );
    expect(target.repositories()).toEqual([]);
    await done("push", "october.tar", "--registry", target.host);
    await done("push", "november.tar", "--registry", target.host);
    expect(incompleteTags(target)).toEqual([]);
  });
});

test("three months: each delta leans on the one before, and says in which order they go", async () => {
  const layers = [common, 11_000, 12_000, 13_000];
  const months: TestImage[] = [];
  for (let month = 0; month < 4; month += 1)
    months.push(await makeImage({ seed: `month`, layers: layers.slice(0, month + 1) }));
  const names = ["jan.tar", "feb.tar", "mar.tar", "apr.tar"];
  for (const [at, name] of names.entries()) {
    const before = names[at - 1];
    const image = months[at] ?? api;
    await pull("team/app", image, name, ...(before === undefined ? [] : ["--base", before]));
  }
  const early = await mirror("push", "apr.tar", "--registry", target.host);
  expect(early.stderr).toContain("push what it leans on first: jan.tar, feb.tar, mar.tar\n");
  const middle = await mirror("push", "feb.tar", "--registry", target.host);
  expect(middle.stderr).toContain(`mirror push jan.tar --registry ${target.host}`);
  expect(target.repositories()).toEqual([]);
  for (const name of names) await done("push", name, "--registry", target.host);
  await done("verify", "apr.tar", ...names.slice(0, 3).flatMap((name) => ["--base", name]));
  expect(incompleteTags(target)).toEqual([]);
  // The last one alone is enough where the registry has all of the others.
  await done("receipt", "--registry", target.host, "--to", "receipt.json");
  const [, , , april = api] = months;
  await pull("other/app", april, "again.tar", "--base", "receipt.json");
  await done("push", "again.tar", "--registry", target.host);
  expect(incompleteTags(target)).toEqual([]);
});

describe("a delta in volumes", () => {
  const big = makeImage({ seed: "big", layers: [common, 1_500_000, 1_400_000] });

  beforeEach(async () => {
    await pull("team/api", api, "october.tar");
    const flags = ["--base", "october.tar", "--volume-size", "1MiB"];
    await pull("team/big", await big, "november.tar", ...flags);
    expect((await readdir(folder.path)).filter((name) => /^november\.tar\.\d+$/.test(name))).toHaveLength(3);
  });

  test("is refused as a whole one before anything moves, by any of its volumes", async () => {
    for (const name of ["november.tar", "november.tar.002"]) {
      const result = await mirror("push", name, "--registry", target.host);
      expect(result.code).toBe(1);
      expect(result.stderr).toContain("push what it leans on first: mirror push october.tar");
      expect(target.repositories()).toEqual([]);
    }
  });

  test("goes volume by volume, and tags the image with the last one", async () => {
    await done("push", "october.tar", "--registry", target.host);
    await done("verify", "november.tar", "--base", "october.tar");
    await rename(folder.join("november.tar.002"), folder.join("away"));
    const first = await mirror("push", "november.tar", "--registry", target.host);
    expect(first.code, first.stderr).toBe(3);
    expect(target.tags("team/big")).toEqual([]);
    await rename(folder.join("away"), folder.join("november.tar.002"));
    await done("push", "november.tar", "--registry", target.host);
    expect(target.manifest("team/big", "1.0")?.digest).toBe((await big).descriptor.digest);
    expect(incompleteTags(target)).toEqual([]);
  });
});

describe("a receipt that was edited by hand", () => {
  interface Edited {
    readonly kind: string;
    repositories: { name: string; blobs: Record<string, number>; [key: string]: unknown }[];
    [key: string]: unknown;
  }
  const edit = async (change: (receipt: Edited) => unknown): Promise<RunResult> => {
    await pull("team/api", api, "october.tar");
    await done("push", "october.tar", "--registry", target.host);
    await done("receipt", "--registry", target.host, "--to", "receipt.json");
    const receipt = JSON.parse(await readFile(folder.join("receipt.json"), "utf8")) as Edited;
    const changed = change(receipt) ?? receipt;
    await writeFile(
      folder.join("receipt.json"),
      typeof changed === "string" ? changed : JSON.stringify(changed),
    );
    seed(source, "team/job", "1.0", job);
    const image = `${source.host}/team/job:1.0`;
    return await mirror("pull", image, "--to", "november.tar", "--base", "receipt.json");
  };

  test.each<readonly [string, (receipt: Edited) => unknown, RegExp]>([
    [
      "a key that nobody knows",
      (receipt) => ({ ...receipt, note: "from ann" }),
      /Cannot read the receipt receipt\.json: Unrecognized key: "note"/,
    ],
    [
      "one in a repository",
      ({ repositories: [first], ...rest }) => ({ ...rest, repositories: [{ ...first, note: 1 }] }),
      /Cannot read the receipt receipt\.json: team\/api: Unrecognized key: "note"/,
    ],
    [
      "a digest that is none",
      ({ repositories: [first], ...rest }) => ({
        ...rest,
        repositories: [{ ...first, blobs: { "sha256:ABC": 1 } }],
      }),
      /Cannot read the receipt receipt\.json: team\/api: blobs\.sha256:ABC: expected sha256:/,
    ],
    [
      "a size that is none",
      ({ repositories: [first], ...rest }) => ({
        ...rest,
        repositories: [{ ...first, blobs: { [common.descriptor.digest]: -1 } }],
      }),
      /Cannot read the receipt receipt\.json: team\/api: blobs\.sha256:[0-9a-f]{64}: /,
    ],
    ["more behind its end", (receipt) => `${JSON.stringify(receipt)}{}`, /it is not JSON/],
    ["an end that is missing", (receipt) => JSON.stringify(receipt).slice(0, -3), /it is not JSON/],
  ])("is refused with %s", async (_, change, message) => {
    const result = await edit(change);
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(1);
  });

  test.each<readonly [string, (receipt: Edited) => unknown]>([
    ["a byte order mark", (receipt) => `\u{feff}${JSON.stringify(receipt)}`],
    [
      "other white space",
      (receipt) => `\r\n\t${JSON.stringify(receipt, undefined, "\t").replaceAll("\n", "\r\n")}\n\n`,
    ],
    [
      "a repository twice",
      (receipt) => ({ ...receipt, repositories: [...receipt.repositories, ...receipt.repositories] }),
    ],
  ])("is read with %s", async (_, change) => {
    const result = await edit(change);
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toContain("it leans on 1 blob (");
    await done("push", "november.tar", "--registry", target.host);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("costs nothing but another pull where it says what is not so", async () => {
    const lie = job.layers[1]?.descriptor ?? common.descriptor;
    const result = await edit((receipt) => {
      for (const repository of receipt.repositories) repository.blobs[lie.digest] = lie.size;
    });
    expect(result.code, result.stderr).toBe(0);
    const pushed = await mirror("push", "november.tar", "--registry", target.host);
    expect(pushed.code).toBe(1);
    expect(pushed.stderr).toContain(`${lie.digest} (`);
    expect(pushed.stderr).not.toContain(`${common.descriptor.digest} (`);
    expect(pushed.stderr).toContain("the registry is not as its receipt says: pull again with a new receipt");
    expect(incompleteTags(target)).toEqual([]);
  });

  test("leaves out nothing of a repository that is none", async () => {
    const result = await edit((receipt) => {
      for (const repository of receipt.repositories) repository.name = "../../admin";
    });
    expect(result.stderr).toContain("november.tar is whole: receipt.json has nothing of it");
  });

  test("leaves out nothing that has another size there", async () => {
    const result = await edit((receipt) => {
      for (const repository of receipt.repositories) repository.blobs[common.descriptor.digest] = 5;
    });
    expect(result.stderr).toContain("november.tar is whole: receipt.json has nothing of it");
  });
});

test("two bases that have the same, a base twice and the list as a base", async () => {
  await pull("team/api", api, "october.tar");
  await writeFile(
    folder.join("list.yaml"),
    `version: 1\nimages:\n  - ${source.host}/team/job:1.0\n${"# what we run\n".repeat(50)}`,
  );
  await writeFile(
    folder.join("list.json"),
    JSON.stringify({ version: 1, images: [`${source.host}/team/job:1.0`] }),
  );
  await done("push", "october.tar", "--registry", target.host);
  await done("receipt", "--registry", target.host, "--to", "receipt.json");
  seed(source, "team/job", "1.0", job);
  const bases = ["october.tar", "./october.tar", "receipt.json"].flatMap((base) => ["--base", base]);
  await done("pull", "-f", "list.yaml", "--to", "november.tar", ...bases);
  const { base } = JSON.parse((await done("ls", "november.tar", "--json")).stdout) as {
    readonly base: { readonly sources: readonly unknown[] };
  };
  expect(base.sources).toMatchObject([
    { kind: "bundle", name: "october.tar" },
    { kind: "receipt", name: "receipt.json" },
  ]);
  await done("push", "november.tar", "--registry", target.host);
  const asYaml = await mirror("pull", "-f", "list.yaml", "--base", "list.yaml", "--to", "new.tar");
  expect([asYaml.code, asYaml.stderr]).toEqual([1, expect.stringContaining("Cannot read list.yaml: ")]);
  const asJson = await mirror("pull", "-f", "list.json", "--base", "list.json", "--to", "new.tar");
  expect([asJson.code, asJson.stderr]).toEqual([
    1,
    expect.stringContaining("Cannot read the receipt list.json: it is JSON, and not a receipt"),
  ]);
});

test("a tag in a bundle that leads out of the target is refused", async () => {
  await pull("team/api", api, "october.tar");
  const bytes = await readFile(folder.join("october.tar"));
  const tag = '"target":{"repository":"team/api","tag":"1.0"}';
  const hostile = '"target":{"repository":"a","tag":"../../../x"}';
  const changed = bytes.toString("latin1").replace(tag, hostile);
  await writeFile(folder.join("hostile.tar"), resealed(Buffer.from(changed, "latin1")));
  const result = await mirror("push", "hostile.tar", "--registry", `${target.host}/far`);
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("is not a tag");
  expect(target.repositories()).toEqual([]);
});

test("names in a delta that lead out of the target are not followed", async () => {
  await pull("team/api", api, "october.tar");
  await pull("team/job", job, "november.tar", "--base", "october.tar");
  const bytes = await readFile(folder.join("november.tar"));
  const place = '"repositories":["team/api"]';
  const hostile = bytes.toString("latin1").replace(place, '"repositories":["../../xx"]');
  await writeFile(folder.join("hostile.tar"), resealed(Buffer.from(hostile, "latin1")));
  target.resetLog();
  const result = await mirror("push", "hostile.tar", "--registry", target.host);
  expect(result.code).toBeGreaterThan(0);
  expect(target.requests.filter(({ path }) => path.includes("xx"))).toEqual([]);
});

/** A bundle whose mirror.json was changed, by somebody who knows how it is sealed; its length stays. */
function resealed(bundle: Buffer): Buffer {
  const begin = bundle.indexOf('{"version":');
  const size = Number.parseInt(bundle.toString("latin1", begin - 512 + 124, begin - 512 + 135), 8);
  const { checksum: _, ...rest } = JSON.parse(bundle.toString("utf8", begin, begin + size)) as {
    readonly checksum: string;
  };
  const sealed = Buffer.from(
    JSON.stringify({ ...rest, checksum: digestOf(Buffer.from(JSON.stringify(rest))) }),
  );
  expect(sealed.byteLength).toBe(size);
  sealed.copy(bundle, begin);
  return bundle;
}
