/** Archives of other tools as what a pull takes content over from, and as what a delta leans on. */
import { mkdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { blobEntries, dockerSaveEntries, type Entry, ociEntries, tarOf } from "../support/archives.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { blobOf, makeRandomLayer, type TestLayer } from "../support/layers.ts";
import { allTests, eachTest } from "../support/lifetimes.ts";
import { flipped } from "../support/pipe-corpus.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

const shared = await makeRandomLayer("shared", 300_000);
const october = await makeImage({ seed: "october", layers: [shared, 40_000] });
const november = await makeImage({ seed: "november", layers: [shared, 50_000] });
const annotations = { "io.containerd.image.name": "docker.io/team/app:1.0" };
const fromOctober = [october.config, ...october.layers].map(({ descriptor }) => descriptor.digest);

let source: TestRegistry;
let folder: TempDir;

allTests(startRegistry, (registry) => {
  source = registry;
});
eachTest(tempDir, (made) => {
  folder = made;
});

const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path });

/** Pulls an image as `team/app:1.0`. */
async function pull(image: TestImage, to: string, ...flags: readonly string[]): Promise<RunResult> {
  seed(source, "team/app", "1.0", image);
  source.resetLog();
  const result = await mirror("pull", `${source.host}/team/app:1.0`, "--to", to, ...flags);
  expect(result.code, result.stderr).toBe(0);
  return result;
}

const fetched = (): number => source.count("GET", /\/blobs\//);
const oci = (): readonly Entry[] => ociEntries([{ content: october, annotations }]);

/** The layers of an image as a tar is: what `docker save` has them as. */
function plainImage(image: TestImage): Promise<TestImage> {
  const layers = image.layers.map((layer): TestLayer => {
    const blob = blobOf(gunzipSync(layer.bytes), mediaTypes.ociLayer);
    return { ...blob, diffId: blob.descriptor.digest };
  });
  return makeImage({ seed: "october", layers });
}

/** Writes a folder as tar would unpack it. */
async function writeFolder(path: string, entries: readonly Entry[]): Promise<void> {
  for (const { name, content = "" } of entries) {
    await mkdir(dirname(`${path}/${name}`), { recursive: true });
    await writeFile(`${path}/${name}`, content);
  }
}

const writers: readonly (readonly [string, string, () => Promise<void>])[] = [
  ["an OCI archive", "oci.tar", async () => await writeFile(folder.join("oci.tar"), await tarOf(oci()))],
  ["a folder with an OCI layout", "layout", async () => await writeFolder(folder.join("layout"), oci())],
];

describe("--reuse", () => {
  test.each(writers)("takes content over from %s", async (_, name, write) => {
    await write();
    await pull(october, "plain.tar");
    const result = await pull(october, "new.tar", "--reuse", name);
    expect(fetched()).toBe(0);
    expect(result.stderr).toMatch(/reused 3 /);
    expect((await readFile(folder.join("new.tar"))).equals(await readFile(folder.join("plain.tar")))).toBe(
      true,
    );
    await pull(november, "next.tar", "--reuse", name);
    expect(fetched()).toBe(2);
    expect((await mirror("verify", "next.tar")).code).toBe(0);
  });

  test("takes over from docker save what has the same digest there", async () => {
    const plain = await plainImage(october);
    const entries = dockerSaveEntries([{ image: october, tags: ["team/app:1.0"] }]);
    await writeFile(folder.join("saved.tar"), await tarOf(entries));
    await pull(plain, "new.tar", "--reuse", "saved.tar");
    expect(fetched()).toBe(0);
    expect((await mirror("verify", "new.tar")).code).toBe(0);
    await pull(october, "packed.tar", "--reuse", "saved.tar");
    // In the registry the layers of this one are compressed: only the config is the same.
    expect(fetched()).toBe(2);
  });

  test("proves what it takes over, and fetches what is damaged", async () => {
    const bytes = await tarOf(oci());
    await writeFile(folder.join("oci.tar"), flipped(bytes, bytes.indexOf(shared.bytes) + 9_000));
    const result = await pull(october, "new.tar", "--reuse", "oci.tar");
    expect(result.stderr).toContain("oci.tar holds damaged content");
    expect(fetched()).toBe(1);
    expect((await mirror("verify", "new.tar")).code).toBe(0);
  });

  test("fetches what has gone from a folder, or was cut off in it", async () => {
    await writeFolder(folder.join("layout"), oci());
    const [, gone, cut] = blobEntries(october).map(({ name }) => folder.join(`layout/${name}`));
    await rm(gone ?? "");
    await truncate(cut ?? "", 100);
    await pull(october, "new.tar", "--reuse", "layout");
    expect(fetched()).toBe(2);
    expect((await mirror("verify", "new.tar")).code).toBe(0);
  });

  test("takes content over into a pipe", async () => {
    await writeFile(folder.join("oci.tar"), await tarOf(oci()));
    const result = await pull(october, "-", "--reuse", "oci.tar");
    expect(fetched()).toBe(0);
    await pull(october, "plain.tar");
    expect(result.output.equals(await readFile(folder.join("plain.tar")))).toBe(true);
  });

  test("takes what there is of a sparse archive", async () => {
    const index = makeIndex([october, await makeImage({ seed: "arm", platform: "linux/arm64" })]);
    const entries = ociEntries([{ content: index, annotations }]).filter(
      ({ name }) =>
        !blobEntries(index.children[1] ?? index)
          .map((entry) => entry.name)
          .includes(name),
    );
    await writeFile(folder.join("sparse.tar"), await tarOf(entries));
    seed(source, "team/app", "1.0", index);
    source.resetLog();
    const result = await mirror(
      "pull",
      `${source.host}/team/app:1.0`,
      "--to",
      "new.tar",
      "--reuse",
      "sparse.tar",
    );
    expect(result.code, result.stderr).toBe(0);
    for (const digest of fromOctober) expect(source.count("GET", new RegExp(digest))).toBe(0);
    expect((await mirror("verify", "new.tar")).code).toBe(0);
  });

  test.each([
    ["gzip", (bytes: Buffer): Buffer => gzipSync(bytes), "oci.tar.gz"],
    ["zstd", (bytes: Buffer): Buffer => zstdCompressSync(bytes), "oci.tar.zst"],
  ])("refuses an archive in %s, and says how to decompress it", async (compression, compress, name) => {
    await writeFile(folder.join(name), compress(await tarOf(oci())));
    seed(source, "team/app", "1.0", october);
    const image = `${source.host}/team/app:1.0`;
    const result = await mirror("pull", image, "--to", "new.tar", "--reuse", name);
    expect(result.stderr).toContain(`Cannot read ${name}: it is compressed with ${compression}`);
    expect(result.stderr).toContain(`decompress it first: ${compression} --decompress --keep ${name}`);
    expect(result.code).toBe(1);
  });
});

describe("--base", () => {
  const compressed: typeof writers = [
    [
      "an archive in gzip",
      "oci.tgz",
      async () => await writeFile(folder.join("oci.tgz"), gzipSync(await tarOf(oci()))),
    ],
  ];
  test.each([...writers, ...compressed])("leans on %s that was pushed", async (_, name, write) => {
    await write();
    await using target = await startRegistry();
    const to = ["--registry", target.host];
    const result = await pull(november, "delta.tar", "--base", name);
    expect(result.stderr).toMatch(
      new RegExp(`^note: delta\\.tar is a delta: it leans on 1 blob \\(.*\\) of ${name}$`, "m"),
    );
    expect((await stat(folder.join("delta.tar"))).size).toBeLessThan(100_000);
    const early = await mirror("push", "delta.tar", ...to);
    expect(early.stderr).toContain(`which ${name} had`);
    expect(early.code).toBe(1);
    const verified = await mirror("verify", "delta.tar", "--base", name);
    expect(verified.code, verified.stderr).toBe(0);
    expect(verified.stdout).toContain("delta.tar is whole together with what it leans on");
    const pushed = await mirror("push", name, ...to);
    expect(pushed.code, pushed.stderr).toBe(0);
    const late = await mirror("push", "delta.tar", ...to);
    expect(late.code, late.stderr).toBe(0);
    expect(target.manifest("team/app", "1.0")?.digest).toBe(november.descriptor.digest);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("mounts from where the archive says that it was pushed to", async () => {
    await writeFile(folder.join("oci.tar"), await tarOf(oci()));
    await using target = await startRegistry();
    await mirror("push", "oci.tar", "--registry", target.host);
    seed(source, "other/tool", "1.0", november);
    const image = `${source.host}/other/tool:1.0`;
    expect((await mirror("pull", image, "--to", "delta.tar", "--base", "oci.tar")).code).toBe(0);
    const result = await mirror("push", "delta.tar", "--registry", target.host);
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toMatch(/mounted 1 /);
  });

  test("leans on an image without a name", async () => {
    await writeFile(folder.join("oci.tar"), await tarOf(ociEntries([{ content: october }])));
    await using target = await startRegistry();
    await pull(november, "delta.tar", "--base", "oci.tar");
    await mirror("push", "oci.tar", "--tag", "team/app:0.9", "--registry", target.host);
    const result = await mirror("push", "delta.tar", "--registry", target.host);
    expect(result.code, result.stderr).toBe(0);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("leans on nothing of docker save where digests differ, and says so", async () => {
    const entries = dockerSaveEntries([{ image: october, tags: ["team/app:1.0"] }]);
    await writeFile(folder.join("saved.tar"), await tarOf(entries));
    const result = await pull(november, "delta.tar", "--base", "saved.tar");
    expect(result.stderr).toContain("delta.tar is whole: saved.tar has nothing of it");
  });

  test("proves the content of an archive with verify", async () => {
    const bytes = await tarOf(oci());
    await writeFile(folder.join("oci.tar"), bytes);
    await pull(november, "delta.tar", "--base", "oci.tar");
    await writeFile(folder.join("oci.tar"), flipped(bytes, bytes.indexOf(shared.bytes) + 9_000));
    const result = await mirror("verify", "delta.tar", "--base", "oci.tar");
    expect(result.stderr).toContain("what it leans on is not");
    expect(result.stderr).toContain(shared.descriptor.digest);
    expect(result.stderr).toContain("(in oci.tar)");
    expect(result.code).toBe(4);
  });

  test.each([
    ["an index that lacks a platform", true],
    ["a manifest that lacks a layer", false],
  ])("leans only on what there is of %s", async (_, lacksPlatform) => {
    const arm = await makeImage({ seed: "arm", platform: "linux/arm64", layers: [shared, 7_000] });
    const index = makeIndex([october, arm]);
    const gone = lacksPlatform ? [blobEntries(arm).at(-1)?.name] : [blobEntries(october)[2]?.name];
    const entries = ociEntries([{ content: index, annotations }]).filter(({ name }) => !gone.includes(name));
    await writeFile(folder.join("sparse.tar"), await tarOf(entries));
    await pull(november, "delta.tar", "--base", "sparse.tar");
    expect((await mirror("verify", "delta.tar", "--base", "sparse.tar")).code).toBe(0);
  });
});
