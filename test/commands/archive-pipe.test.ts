/** Archives of other tools out of a pipe: one pass, whose names come last, and nothing of it on the disk. */
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import {
  blobEntries,
  dockerSaveEntries,
  type Entry,
  indexEntry,
  ociEntries,
  tarOf,
} from "../support/archives.ts";
import { type RunOptions, type RunResult, runMirror, startMirror } from "../support/cli.ts";
import { filesBelow } from "../support/files.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { tempDir } from "../support/temp.ts";

const MiB = 1024 * 1024;
const staging = "mirror-staging";
const named = { "io.containerd.image.name": "docker.io/team/app:1.0" };

let target: TestRegistry;
let app: TestImage;
let other: TestImage;
let index: TestIndex;
/** As `docker save` writes them, and as ctr does. */
let saved: Buffer;
let oci: Buffer;

beforeAll(async () => {
  // Larger than what is kept in memory; the second one than what is held while it is sent.
  const shared = await makeRandomLayer("shared", 5 * MiB);
  app = await makeImage({ seed: "app", layers: [shared, await makeRandomLayer("big", 34 * MiB), 2000] });
  other = await makeImage({ seed: "other", layers: [shared, 700_000] });
  index = makeIndex([app, await makeImage({ seed: "arm", platform: "linux/arm64" })]);
  saved = await tarOf(
    dockerSaveEntries([
      { image: app, tags: ["team/app:1.0"] },
      { image: other, tags: ["team/other:2.0"] },
    ]),
  );
  oci = await tarOf(ociEntries([{ content: index, annotations: named }]));
});
beforeEach(async () => {
  await target?.[Symbol.asyncDispose]();
  target = await startRegistry();
});
afterAll(async () => await target[Symbol.asyncDispose]());

const mirror = async (stdin: Buffer, args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
  await runMirror(args, { stdin, ...options });
const push = async (stdin: Buffer, ...flags: readonly string[]): Promise<RunResult> =>
  await mirror(stdin, ["push", "-", "--registry", target.host, ...flags]);

/** The digests of layers as `docker save` has them. */
function plainLayers(image: TestImage): readonly Digest[] {
  return image.layers.map(({ bytes }) => digestOf(gunzipSync(bytes)));
}
function layersAt(repository: string, tag: string): readonly Digest[] {
  const { layers } = JSON.parse(target.manifest(repository, tag)?.bytes.toString("utf8") ?? "{}") as {
    layers: readonly { readonly digest: Digest }[];
  };
  return layers.map(({ digest }) => digest);
}
describe("push - of docker save", () => {
  test.each([
    ["plain", (bytes: Buffer) => bytes],
    ["gzip", (bytes: Buffer) => gzipSync(bytes, { level: 1 })],
    ["zstd", (bytes: Buffer) => zstdCompressSync(bytes)],
  ] as const)("brings every image to its place (%s)", async (_, compress) => {
    await using folder = await tempDir();
    const env = { HOME: folder.path, TMPDIR: folder.path, XDG_STATE_HOME: folder.join("state") };
    const result = await mirror(compress(saved), ["push", "-", "--registry", target.host, "--json"], {
      cwd: folder.path,
      env,
    });
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(layersAt("team/app", "1.0")).toEqual(plainLayers(app));
    expect(layersAt("team/other", "2.0")).toEqual(plainLayers(other));
    expect(incompleteTags(target)).toEqual([]);
    expect(target.tags(staging)).toEqual([]);
    expect(target.openUploads).toBe(0);
    // The two large layers went through the staging repository, and were mounted three times.
    expect(JSON.parse(result.stdout)).toMatchObject({
      images: [
        { image: "docker.io/team/app:1.0", status: "done" },
        { image: "docker.io/team/other:2.0", status: "done" },
      ],
      totals: { blobsMounted: 3, blobsSkipped: 0, failedImages: 0 },
    });
    expect(await filesBelow(folder.path)).toEqual([]);
    expect(target.count("GET", /\/blobs\//)).toBe(0);
  });

  test("sends the layers to their place at once where --tag says it", async () => {
    const one = await tarOf(dockerSaveEntries([{ image: app, tags: null }]));
    const result = await push(one, "--tag", "far/app:7", "--json");
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(layersAt("far/app", "7")).toEqual(plainLayers(app));
    expect(target.repositories()).toEqual(["far/app"]);
    expect(JSON.parse(result.stdout)).toMatchObject({ totals: { blobsMounted: 0, blobsSkipped: 0 } });
  });

  test("sends them through the repository that --staging names, under the prefix", async () => {
    const result = await runMirror(
      ["push", "-", "--registry", `${target.host}/far`, "--staging", "tmp/layers"],
      { stdin: saved },
    );
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(target.repositories()).toEqual(["far/team/app", "far/team/other", "far/tmp/layers"]);
    const wrong = await push(saved, "--staging", "Not A Name");
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("it is no repository name");
  });

  test("says which digest results, and that a name is missing", async () => {
    const result = await push(saved);
    expect(result.stderr).toContain(
      "standard input holds no manifests, so each image gets one over its layers",
    );
    const nameless = await push(await tarOf(dockerSaveEntries([{ image: other, tags: null }])));
    expect(nameless.code).toBe(2);
    expect(nameless.stderr).toContain("name it: --tag NAME[:TAG]");
  });

  test("takes compressed layers for what they are", async () => {
    const config = `${hexOf(app.config.descriptor.digest)}.json`;
    const files = app.layers.map(({ bytes }, at) => ({ name: `${at}.tar.gz`, content: bytes }));
    const list = [{ Config: config, RepoTags: ["team/app:1.0"], Layers: files.map(({ name }) => name) }];
    const crane: readonly Entry[] = [
      { name: config, content: app.config.bytes },
      ...files,
      { name: "manifest.json", content: JSON.stringify(list) },
    ];
    const result = await push(await tarOf(crane));
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(layersAt("team/app", "1.0")).toEqual(app.layers.map(({ descriptor }) => descriptor.digest));
    const [, big] = files;
    big?.content.writeUInt8((big.content.at(-20_000_000) ?? 0) ^ 1, big.content.byteLength - 20_000_000);
    const broken = await push(await tarOf(crane));
    big?.content.writeUInt8((big.content.at(-20_000_000) ?? 0) ^ 1, big.content.byteLength - 20_000_000);
    expect(broken.code).toBe(4);
    expect(broken.stderr).toContain("damaged or truncated");
  });
});

describe("push - of an OCI layout", () => {
  test("keeps every digest, and a second time sends no layer", async () => {
    const result = await push(oci);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(target.manifest("team/app", "1.0")?.bytes.equals(index.manifest)).toBe(true);
    expect(incompleteTags(target)).toEqual([]);
    target.resetLog();
    const again = await push(gzipSync(oci, { level: 1 }), "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({
      totals: { unchangedImages: 1, blobs: 0, bytesMoved: 0 },
    });
    expect(target.requests.filter(({ method }) => method !== "HEAD" && method !== "GET")).toEqual([]);
  });

  test("reads what cannot be mounted back from the registry", async () => {
    target.fault("refuse-mount");
    const result = await push(oci);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stderr).toContain(
      `does not take 2 layers over from ${staging}, so they are read back from there`,
    );
    expect(target.manifest("team/app", "1.0")?.bytes.equals(index.manifest)).toBe(true);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("goes on without platforms that are not there where that is wanted", async () => {
    const lone = await tarOf([
      ...blobEntries(app),
      { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
      { name: `blobs/sha256/${hexOf(index.descriptor.digest)}`, content: index.manifest },
      indexEntry([{ ...index.descriptor, annotations: named }]),
    ]);
    const refused = await push(lone);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("it is a sparse archive");
    expect(target.tags("team/app")).toEqual([]);
    const result = await push(lone, "--allow-missing");
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(incompleteTags(target)).toEqual([]);
  });

  test("a bundle of ours in gzip is read as the bundle that it is", async () => {
    await using folder = await tempDir();
    const pushed = await push(oci);
    expect(pushed.code).toBe(0);
    const from = `${target.host}/team/app:1.0`;
    const pulled = await runMirror(["pull", from, "--to", "-"], { cwd: folder.path });
    await using second = await startRegistry();
    const zipped = gzipSync(pulled.output, { level: 1 });
    const result = await mirror(zipped, ["push", "-", "--registry", second.host]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(second.repositories()).toEqual(["team/app"]);
    expect(incompleteTags(second)).toEqual([]);
    // With a name it is any OCI layout.
    const renamed = await mirror(pulled.output, [
      "push",
      "-",
      "--tag",
      "new/name:1",
      "--registry",
      second.host,
    ]);
    expect(renamed, renamed.stderr).toMatchObject({ code: 0 });
    expect(second.manifest("new/name", "1")?.bytes.equals(index.manifest)).toBe(true);
    const cut = zipped.subarray(0, 20_000_000);
    const broken = await mirror(cut, ["push", "-", "--registry", second.host]);
    expect(broken.code).toBe(4);
    expect(broken.stderr).toContain("is damaged or truncated");
  });
});

describe("what goes wrong", () => {
  const layerAt = (archive: Buffer, image: TestImage, at: number): number => {
    const { digest } = image.layers[at]?.descriptor ?? image.descriptor;
    return archive.indexOf(`blobs/sha256/${hexOf(digest)}`) + 512;
  };

  test.each([0.3, 0.97])("nothing is tagged of a stream that ends early (%d)", async (part) => {
    // 2.8 forgets an upload whose connection breaks before it can be cancelled.
    await target[Symbol.asyncDispose]();
    target = await startRegistry({ dialect: "3" });
    for (const bytes of [saved, oci, gzipSync(oci, { level: 1 })]) {
      const result = await push(bytes.subarray(0, Math.floor(bytes.byteLength * part)));
      expect(result.code, result.stderr).toBe(4);
      expect(result.stderr).toContain("truncated");
      expect(target.tags("team/app")).toEqual([]);
      await expect.poll(() => target.openUploads).toBe(0);
    }
  });

  test("a damaged layer costs the images that need it, and no others", async () => {
    const both = await tarOf(
      ociEntries([
        { content: app, annotations: named },
        { content: other, annotations: { "io.containerd.image.name": "docker.io/team/other:2.0" } },
      ]),
    );
    const place = layerAt(both, app, 1) + 20_000_000;
    both.writeUInt8((both[place] ?? 0) ^ 1, place);
    const result = await push(both);
    const big = app.layers[1]?.descriptor.digest;
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`Cannot read standard input: ${big} in it is damaged`);
    expect(target.tags("team/app")).toEqual([]);
    expect(target.tags("team/other")).toEqual(["2.0"]);
    expect(incompleteTags(target)).toEqual([]);
    await expect.poll(() => target.openUploads).toBe(0);
    const verified = await mirror(both, ["verify", "-"]);
    expect(verified.code).toBe(4);
    expect(verified.stderr).toContain("standard input is damaged: 1 problem");
    expect(verified.stderr).toContain(`${big} in it is damaged`);
  });

  test("damage in a layer of docker save is found by its config", async () => {
    const bytes = Buffer.from(saved);
    const place = bytes.indexOf("/layer.tar") + 3_000_000;
    bytes.writeUInt8((bytes[place] ?? 0) ^ 1, place);
    for (const result of [await push(bytes), await mirror(bytes, ["verify", "-"])]) {
      expect(result.code).toBe(4);
      expect(result.stderr).toContain("and its config says sha256:");
    }
    expect(target.tags("team/app")).toEqual([]);
  });

  test("what is behind the end of a compressed layer is a part of it", async () => {
    const [layer] = app.layers;
    const content = Buffer.concat([layer?.bytes ?? Buffer.alloc(0), Buffer.alloc(3 * MiB)]);
    const plain = digestOf(gunzipSync(layer?.bytes ?? Buffer.alloc(0)));
    const config = Buffer.from(JSON.stringify({ rootfs: { type: "layers", diff_ids: [plain] } }));
    const items = [{ Config: "config.json", RepoTags: ["team/padded:1.0"], Layers: ["layer.tar.gz"] }];
    const archive = await tarOf([
      { name: "layer.tar.gz", content },
      { name: "config.json", content: config },
      { name: "manifest.json", content: Buffer.from(JSON.stringify(items)) },
    ]);
    const result = await push(archive);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(layersAt("team/padded", "1.0")).toEqual([digestOf(content)]);
  });

  test("a piece is sent again where the connection breaks", async () => {
    await target[Symbol.asyncDispose]();
    target = await startRegistry({ dialect: "3" });
    target.fault("drop-upload-after", { bytes: 3 * MiB, skip: 1, times: 2, match: { method: "PATCH" } });
    const result = await push(saved);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(layersAt("team/app", "1.0")).toEqual(plainLayers(app));
  });

  test("a layer begins anew that fits into memory; a larger one ends the run", async () => {
    // distribution 2.8 does not tell how far it got.
    target.fault("drop-upload-after", { bytes: 2 * MiB, times: 1, match: { method: "PUT" } });
    const small = await push(await tarOf(dockerSaveEntries([{ image: other, tags: ["team/other:2.0"] }])));
    expect(small, small.stderr).toMatchObject({ code: 0 });
    target.clearFaults();
    target.fault("drop-upload-after", { bytes: 3 * MiB, skip: 1, match: { method: "PATCH" } });
    const result = await push(saved);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/Cannot read ".*layer\.tar" from standard input again: it has gone by/);
    expect(result.stderr).toContain("store the archive in a file first");
    // The registry takes the repository: another one would not help.
    expect(result.stderr).not.toContain("--staging");
    expect(target.tags("team/app")).toEqual([]);
  });

  test("a registry that wants small chunks gets them; one that takes nothing but whole blobs ends the run", async () => {
    target.fault("reject-patch");
    const result = await push(oci);
    expect(result.code).toBe(1);
    expect(target.tags("team/app")).toEqual([]);
    target.clearFaults();
    target.fault("chunk-limit");
    const limited = await push(oci);
    expect(limited, limited.stderr).toMatchObject({ code: 0 });
    expect(incompleteTags(target)).toEqual([]);
  });

  test("a staging repository that is refused is named, with the way out", async () => {
    target.fault("status", { status: 403, match: { path: new RegExp(`^/v2/${staging}/`) } });
    const result = await push(saved);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("--staging REPOSITORY, or --tag NAME[:TAG]");
    const elsewhere = await push(saved, "--staging", "team/app");
    expect(elsewhere, elsewhere.stderr).toMatchObject({ code: 0 });
    expect(incompleteTags(target)).toEqual([]);
  });

  test("what is no archive is refused with what would be one", async () => {
    const nothing = await push(Buffer.alloc(0));
    expect(nothing.stderr).toContain("Cannot read standard input: nothing came");
    const text = await push(Buffer.from("not a tar at all".repeat(100)));
    expect(text.code).toBe(1);
    expect(text.stderr).toContain("it is neither a bundle nor an archive of images");
    expect(text.stderr).toContain("docker save");
    const xz = await push(Buffer.from("fd377a585a000004e6d6b446", "hex"));
    expect(xz.code).toBe(1);
    expect(xz.stderr).toContain("it is compressed with xz");
    expect(xz.stderr).toContain("xz --decompress --stdout");
    const lone = await push(await tarOf([{ name: "README", content: "hello" }]));
    expect(lone.stderr).toContain("it has neither an index.json nor a manifest.json");
    const json = await push(await tarOf([{ name: "manifest.json", content: "[{" }]));
    expect(json.code).toBe(4);
    expect(json.stderr).toContain("its manifest.json is not what Docker writes");
  });

  test("it ends where the registry is away, and at a signal, though its input stays open", async () => {
    await using away = await startMirror(["push", "-", "--registry", "127.0.0.1:1", "--patience", "0"], {
      stdin: saved.subarray(0, 1_000_000),
      stdinStaysOpen: true,
    });
    expect((await away.result).code).toBe(1);
    await using running = await startMirror(["push", "-", "--registry", target.host], {
      stdin: saved.subarray(0, 10_000_000),
      stdinStaysOpen: true,
    });
    await running.until(/plain HTTP/);
    running.kill("SIGINT");
    expect((await running.result).code).toBe(130);
  });
});

describe("verify -, ls - and inspect -", () => {
  test("read an archive in one pass", async () => {
    for (const bytes of [saved, gzipSync(saved, { level: 1 })]) {
      const verified = await mirror(bytes, ["verify", "-"]);
      expect(verified, verified.stderr).toMatchObject({ code: 0 });
      expect(verified.stdout).toContain("standard input is whole: 2 images");
      const listed = await mirror(bytes, ["ls", "-", "--json"]);
      expect(JSON.parse(listed.stdout)).toMatchObject({
        images: [{ image: "docker.io/team/app:1.0" }, { image: "docker.io/team/other:2.0" }],
      });
    }
    const inspected = await mirror(saved, ["inspect", "-", "team/app:1.0", "--json"]);
    const layers = plainLayers(app).map((digest) => ({ digest }));
    expect(JSON.parse(inspected.stdout)).toMatchObject({ images: [{ manifests: [{ layers }] }] });
    const named = await mirror(oci, ["ls", "-", "--tag", "new/name:9"]);
    expect(named.stdout).toContain("docker.io/new/name:9");
  });

  test("verify - asks the registry too", async () => {
    expect((await push(oci)).code).toBe(0);
    const whole = await mirror(oci, ["verify", "-", "--registry", target.host]);
    expect(whole, whole.stderr).toMatchObject({ code: 0 });
    expect(whole.stdout).toContain("has every tag, manifest and blob of it");
  });

  test("name what is missing", async () => {
    const entries = ociEntries([{ content: app, annotations: named }]);
    const { digest = "" } = app.layers[1]?.descriptor ?? {};
    const lacking = entries.filter(({ name }) => !name.endsWith(hexOf(digest as Digest)));
    const result = await mirror(await tarOf(lacking), ["verify", "-"]);
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`Cannot find ${digest} in standard input: 1 of 4 blobs`);
  });
});
