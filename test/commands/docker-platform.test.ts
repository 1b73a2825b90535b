/** What a bundle offers `docker load`: one platform of each image, by the usual rule or by --docker-platform. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { zstdCompressSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import {
  makeArtifact,
  makeImage,
  makeIndex,
  seed,
  type TestImage,
  type TestIndex,
} from "../support/images.ts";
import { blobOf, makeTar } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const built = async (name: string, platform: string, bytes = 20_000): Promise<TestImage> =>
  await makeImage({ seed: `${name} ${platform}`, platform, layers: [bytes] });
const both = {
  arm64: await built("both", "linux/arm64", 700_000),
  amd64: await built("both", "linux/amd64", 700_000),
};
const zstdTar = await makeTar({ "etc/zstd": "zstd\n" });
const zstdLayer = {
  ...blobOf(zstdCompressSync(zstdTar), "application/vnd.oci.image.layer.v1.tar+zstd"),
  diffId: digestOf(zstdTar),
};
const s390x = await built("ibm", "linux/s390x");
const images = {
  // What Docker and ctr would stop at comes first.
  chart: makeArtifact({
    configType: "application/vnd.cncf.helm.config.v1+json",
    config: "{}",
    files: [
      { mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", bytes: Buffer.from("chart") },
    ],
  }),
  signature: makeArtifact({
    configType: "application/vnd.oci.image.config.v1+json",
    config: "{}",
    files: [{ mediaType: "application/vnd.dev.cosign.simplesigning.v1+json", bytes: Buffer.from("{}") }],
  }),
  zstd: await makeImage({ seed: "zstd", layers: [zstdLayer] }),
  // As a registry has them: neither the one nor the other comes first by its name.
  both: makeIndex([both.arm64, both.amd64], { attestations: true }),
  ibm: makeIndex([await built("ibm", "windows/amd64"), s390x, await built("ibm", "linux/ppc64le")]),
  single: await built("single", "linux/amd64"),
  edge: await built("edge", "linux/arm64"),
  windows: makeIndex([await built("windows", "windows/amd64")]),
} satisfies Record<string, TestImage | TestIndex>;
type Name = keyof typeof images;
const all = Object.keys(images) as Name[];

let registry: TestRegistry;
let folder: TempDir;

beforeAll(async () => {
  registry = await startRegistry();
  folder = await tempDir();
  for (const [name, image] of Object.entries(images)) seed(registry, `team/${name}`, "1.0", image);
});
afterEach(() => {
  registry.clearFaults();
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const nameOf = (name: string): string => `${registry.host}/team/${name}:1.0`;
async function pull(names: readonly Name[], to: string, ...flags: readonly string[]): Promise<RunResult> {
  registry.resetLog();
  return await runMirror(["pull", ...names.map(nameOf), "--to", to, ...flags], { cwd: folder.path });
}
async function pulled(names: readonly Name[], to: string, ...flags: readonly string[]): Promise<RunResult> {
  const result = await pull(names, to, ...flags);
  expect(result.code, result.stderr).toBe(0);
  return result;
}
const bytesOf = async (file: string): Promise<Buffer> => await readFile(folder.join(file));
async function fileIn(bundle: string, name: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)("tar", ["xOf", folder.join(bundle), name]);
  return JSON.parse(stdout);
}

/** The configs that `docker load` is offered, by the names of their images, in its order. */
async function offered(bundle: string): Promise<readonly (readonly [string, string])[]> {
  const items = (await fileIn(bundle, "manifest.json")) as { Config: string; RepoTags: string[] }[];
  return items.map(({ Config, RepoTags }) => [RepoTags.join(), `sha256:${Config.slice(-64)}`]);
}
const item = (name: Name, image: TestImage): readonly [string, string] => [
  nameOf(name),
  image.config.descriptor.digest,
];
const warned = (stderr: string): readonly string[] =>
  stderr.split("\n").filter((line) => line.includes("docker load"));

describe("docker load is offered", () => {
  test("linux/amd64, otherwise the first for Linux; what it cannot read is left out, zstd comes last", async () => {
    const result = await pulled(all, "usual.tar");
    expect(await offered("usual.tar")).toEqual([
      item("both", both.amd64),
      item("ibm", s390x),
      item("single", images.single),
      item("edge", images.edge),
      item("zstd", images.zstd),
    ]);
    expect(warned(result.stderr)).toEqual([]);
    // A config is read once, when it is copied.
    const config = images.single.config.descriptor.digest;
    expect(registry.count("GET", new RegExp(`/blobs/${config}$`))).toBe(1);
  });

  test("the platform that --docker-platform names and no other, with a warning for each image that lacks it", async () => {
    const result = await pulled(all, "arm.tar", "--docker-platform", "linux/arm64");
    expect(await offered("arm.tar")).toEqual([item("both", both.arm64), item("edge", images.edge)]);
    const lacks = (name: Name, has: string): string =>
      `warning: ${nameOf(name)} is not available for linux/arm64: docker load is not offered it\n` +
      `  hint: it is in the bundle for all other uses, for ${has}\n`;
    expect(result.stderr).toContain(lacks("zstd", "linux/amd64"));
    expect(result.stderr).toContain(lacks("ibm", "windows/amd64, linux/s390x, linux/ppc64le"));
    expect(result.stderr).toContain(lacks("single", "linux/amd64"));
    expect(result.stderr).toContain(lacks("windows", "windows/amd64"));
    expect(warned(result.stderr)).toHaveLength(4);
    const verified = await runMirror(["verify", folder.join("arm.tar")]);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    // All other readers get the same as always, what can be unpacked in front of the rest.
    const index = (await fileIn("arm.tar", "index.json")) as { manifests: { digest: string }[] };
    expect(index).toEqual(await fileIn("usual.tar", "index.json"));
    const { chart, signature, ...runnable } = images;
    expect(index.manifests.map(({ digest }) => digest)).toEqual(
      [...Object.values(runnable), chart, signature].map(({ descriptor }) => descriptor.digest),
    );
  });

  test("a platform of another system too, and nothing where nothing fits", async () => {
    await pulled(all, "windows.tar", "--docker-platform", "windows/amd64");
    const names = (await offered("windows.tar")).map(([name]) => name);
    expect(names).toEqual([nameOf("ibm"), nameOf("windows")]);
    await pulled(["edge", "chart"], "none.tar", "--docker-platform", "linux/riscv64");
    await expect(fileIn("none.tar", "manifest.json")).rejects.toThrow("Not found in archive");
    const verified = await runMirror(["verify", folder.join("none.tar")]);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
  });

  test("an alias of it as well, and what a choice of platforms has left", async () => {
    await pulled(["both", "edge"], "alias.tar", "--docker-platform", "linux/aarch64");
    expect(await offered("alias.tar")).toEqual([item("both", both.arm64), item("edge", images.edge)]);
    const flags = ["--platform", "linux/amd64", "--docker-platform", "linux/arm64"];
    const result = await pulled(["both"], "chosen.tar", ...flags);
    await expect(fileIn("chosen.tar", "manifest.json")).rejects.toThrow("Not found in archive");
    expect(warned(result.stderr)).toHaveLength(1);
    await pulled(["ibm"], "windows-only.tar", "--platform", "windows/amd64");
    await expect(fileIn("windows-only.tar", "manifest.json")).rejects.toThrow("Not found in archive");
  });

  test("nothing of an image whose layers a licence keeps back", async () => {
    const type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    const image = await makeImage({ seed: "foreign", layers: [zstdLayer] });
    const document = JSON.parse(image.manifest.toString("utf8")) as { layers: object[] };
    const layers = document.layers.map((layer) => ({
      ...layer,
      mediaType: type,
      urls: ["https://example.com/layer"],
    }));
    registry.putBlob("team/foreign", image.config.bytes);
    const manifest = Buffer.from(JSON.stringify({ ...document, layers }));
    registry.putManifest("team/foreign", "1.0", manifest, image.descriptor.mediaType);
    const names = [nameOf("foreign"), nameOf("single")];
    const result = await runMirror(["pull", ...names, "--to", "foreign.tar"], { cwd: folder.path });
    expect(result.code, result.stderr).toBe(0);
    expect(await offered("foreign.tar")).toEqual([item("single", images.single)]);
  });
});

describe("--docker-platform", () => {
  const some = ["both", "ibm", "single"] as const;

  test("gives the same bytes again, as a variable too, and the second pull changes nothing", async () => {
    await pulled(some, "first.tar", "--docker-platform", "linux/arm64");
    const env = { MIRROR_DOCKER_PLATFORM: "linux/arm64" };
    const args = ["pull", ...some.map(nameOf), "--to", "second.tar"];
    expect(await runMirror(args, { cwd: folder.path, env })).toMatchObject({ code: 0 });
    expect((await bytesOf("first.tar")).equals(await bytesOf("second.tar"))).toBe(true);
    const again = await pulled(some, "first.tar", "--docker-platform", "linux/arm64");
    expect(again.stderr).toContain("pulled 3 images (3 unchanged)");
  });

  test("with another value writes the bundle anew, from the content of the old one", async () => {
    await pulled(some, "old.tar");
    const usual = await bytesOf("old.tar");
    const other = await pulled(some, "old.tar", "--docker-platform", "linux/arm64");
    expect(other.stderr).not.toContain("unchanged");
    expect(await offered("old.tar")).toEqual([item("both", both.arm64)]);
    // No layer is fetched; the config of the one image without an index is read to tell its platform.
    expect(registry.count("GET", /\/blobs\//)).toBe(1);
    await pulled(some, "old.tar");
    expect(registry.count("GET", /\/blobs\//)).toBe(0);
    expect((await bytesOf("old.tar")).equals(usual)).toBe(true);
  });

  test("may be another one when an unfinished pull goes on", async () => {
    const lost = images.single.layers[0]?.descriptor.digest ?? "";
    registry.fault("status", { status: 404, match: { path: new RegExp(`/blobs/${lost}$`) } });
    expect(await pull(some, "going.tar")).toMatchObject({ code: 1 });
    registry.clearFaults();
    const resumed = await pulled(some, "going.tar", "--docker-platform", "linux/arm64");
    expect(resumed.stderr).toContain("going on with going.tar.part");
    await pulled(some, "at-once.tar", "--docker-platform", "linux/arm64");
    expect((await bytesOf("going.tar")).equals(await bytesOf("at-once.tar"))).toBe(true);
  });

  test("holds for the images that --keep-going leaves", async () => {
    const lost = images.ibm.children[0]?.kind === "image" ? images.ibm.children[0].layers[0] : undefined;
    const match = { path: new RegExp(`/blobs/${lost?.descriptor.digest ?? ""}$`) };
    registry.fault("status", { status: 404, match });
    const flags = ["--docker-platform", "linux/arm64"];
    expect(await pull(some, "kept.tar", "--keep-going", ...flags)).toMatchObject({ code: 3 });
    registry.clearFaults();
    await pulled(["both", "single"], "kept-at-once.tar", ...flags);
    expect((await bytesOf("kept.tar")).equals(await bytesOf("kept-at-once.tar"))).toBe(true);
  });

  test("holds in volumes, in a pipe and in a delta", async () => {
    const flags = ["--docker-platform", "linux/arm64"];
    await pulled(some, "plain.tar", ...flags);
    const plain = await bytesOf("plain.tar");
    await pulled(some, "set.tar", "--volume-size", "1MiB", ...flags);
    const joined = await promisify(execFile)("sh", ["-c", "cat set.tar.[0-9][0-9][0-9]"], {
      cwd: folder.path,
      encoding: "buffer",
      maxBuffer: plain.byteLength * 2,
    });
    expect(joined.stdout.equals(plain)).toBe(true);
    const piped = await pulled(some, "-", ...flags);
    expect(piped.output.equals(plain)).toBe(true);
    expect(warned(piped.stderr)).toHaveLength(2);
    await pulled(["single"], "base.tar");
    await pulled(["both", "single", "edge"], "delta.tar", "--base", "base.tar", ...flags);
    expect(await offered("delta.tar")).toEqual([item("both", both.arm64), item("edge", images.edge)]);
  });

  test.each([
    ["arm64", 'Cannot read platform "arm64"'],
    ["", "Cannot use --docker-platform: it is empty"],
    ["linux/arm64,linux/amd64", 'Cannot read platform "linux/arm64,linux/amd64"'],
    ["linux/", 'Cannot read platform "linux/"'],
    ["linux/arm64/v8/x", 'Cannot read platform "linux/arm64/v8/x"'],
  ])("is refused as %j before anything is asked", async (value, message) => {
    const result = await pull(["single"], "refused.tar", "--docker-platform", value);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain(message);
    expect(registry.requests).toHaveLength(0);
  });
});
