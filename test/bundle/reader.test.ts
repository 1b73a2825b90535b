import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BundleReader } from "../../src/bundle/reader.ts";
import { readAll } from "../../src/content/verify.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { startRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { makeTar, randomBytesOf } from "../support/layers.ts";
import { pull, wanted } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let path: string;
let app: TestImage;
let host: string;

beforeAll(async () => {
  folder = await tempDir();
  path = folder.join("bundle.tar");
  await using registry = await startRegistry();
  host = registry.host;
  // Below and above the size up to which header and content are read at once.
  app = await makeImage({ seed: "app", layers: [1000, 700_000] });
  seed(registry, "team/app", "1.0", makeIndex([app]));
  seed(registry, "team/other", "2.0", await makeImage({ seed: "other" }));
  await pull([wanted(registry, "team/app:1.0"), wanted(registry, "team/other:2.0")], path);
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** A copy of the bundle under another name. */
async function copyAs(name: string, change: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<string> {
  const to = folder.join(name);
  await writeFile(to, change(await readFile(path)));
  return to;
}

describe("an open bundle", () => {
  test("names its images with their targets and roots", async () => {
    await using bundle = await BundleReader.open(path);
    expect(bundle.images.map(({ source, target }) => ({ source, target }))).toEqual([
      { source: `${host}/team/app:1.0`, target: { repository: "team/app", tag: "1.0" } },
      { source: `${host}/team/other:2.0`, target: { repository: "team/other", tag: "2.0" } },
    ]);
    expect(bundle.totalBytes).toBe((await readFile(path)).byteLength);
  });

  test("resolves names and digests, and says what is there for one that is not", async () => {
    await using bundle = await BundleReader.open(path);
    const byName = await bundle.resolve(`${host}/team/app:1.0`);
    expect(await bundle.resolve(byName.digest)).toEqual(byName);
    await expect(bundle.resolve("team/app:7")).rejects.toMatchObject({
      code: "NOT_FOUND",
      hint: `mirror ls ${path} shows what is in it`,
    });
  });

  test("gives every blob from any offset", async () => {
    await using bundle = await BundleReader.open(path);
    for (const { descriptor, bytes } of [app.config, ...app.layers]) {
      expect((await readAll(await bundle.open(descriptor), descriptor, 10_000_000)).equals(bytes)).toBe(true);
      for (const offset of [1, 511, Math.floor(descriptor.size / 2), descriptor.size]) {
        const hash = createHash("sha256");
        for await (const piece of await bundle.open(descriptor, { offset })) hash.update(piece);
        expect(`sha256:${hash.digest("hex")}`).toBe(digestOf(bytes.subarray(offset)));
      }
    }
  });

  test("refuses content that it does not have, or that has another size than it should", async () => {
    await using bundle = await BundleReader.open(path);
    const digest = `sha256:${"0".repeat(64)}` as Digest;
    const absent = bundle.open({ mediaType: "", digest, size: 1 });
    await expect(absent).rejects.toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining(digest),
    });
    const { descriptor } = app.config;
    await expect(bundle.open({ ...descriptor, size: descriptor.size + 1 })).rejects.toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining(`${descriptor.size} bytes in it, and ${descriptor.size + 1}`),
    });
  });
});

describe("what is no bundle, or one no more", () => {
  const failure = async (file: string): Promise<unknown> =>
    await BundleReader.open(file).then(
      () => "opened",
      (error: unknown) => error,
    );

  test("a truncated bundle, wherever it ends", async () => {
    const { length } = await readFile(path);
    const file = await copyAs("truncated.tar");
    for (const size of [length - 1, length - 1024, length - 5000, Math.floor(length / 2), 3000, 700, 513]) {
      await truncate(file, size);
      expect(await failure(file), `${size} bytes`).toMatchObject({
        code: "INTEGRITY",
        message: expect.stringMatching(/truncated/),
        hint: expect.stringContaining("copy"),
      });
    }
  });

  test("a bundle that is longer than it should be", async () => {
    const file = await copyAs("long.tar");
    await appendFile(file, Buffer.alloc(512));
    expect(await failure(file)).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringMatching(/longer than it should be: \d+ bytes, expected \d+$/),
    });
  });

  test("a bundle that was cut while it was open", async () => {
    const file = await copyAs("cut.tar");
    await using bundle = await BundleReader.open(file);
    await truncate(file, 4096);
    const [, layer] = app.layers;
    const read = async (): Promise<void> => {
      if (layer !== undefined)
        await readAll(await bundle.open(layer.descriptor), layer.descriptor, 10_000_000);
    };
    await expect(read()).rejects.toMatchObject({
      code: "DISK",
      message: expect.stringContaining("it changed while it was read: it was"),
    });
  });

  const strangers: readonly (readonly [string, () => Promise<Buffer> | Buffer])[] = [
    ["an empty file", () => Buffer.alloc(0)],
    ["a gzip'd bundle", async () => gzipSync(await readFile(path))],
    ["random bytes", () => randomBytesOf("stranger", 50_000)],
    ["zeros", () => Buffer.alloc(50_000)],
    ["a text", () => Buffer.from("version: 1\n".repeat(100))],
    ["another tar", async () => await makeTar({ "etc/passwd": "root" })],
    [
      "an OCI layout without mirror.json",
      async () => await makeTar({ "oci-layout": "{}", "index.json": "{}" }),
    ],
  ];
  test.each(strangers)("%s", async (name, bytes) => {
    const file = folder.join(`${name}.tar`);
    await writeFile(file, await bytes());
    expect(await failure(file)).toMatchObject({
      code: "BUNDLE",
      message: `Cannot read ${file}: it is not a bundle that mirror pull wrote`,
      hint: expect.stringContaining("plain tar"),
    });
  });

  test("a folder, and nothing at all", async () => {
    await mkdir(folder.join("layout"));
    expect(await failure(folder.join("layout"))).toMatchObject({ code: "BUNDLE" });
    expect(await failure(folder.join("absent.tar"))).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("there is no such file"),
    });
  });

  test("metadata that belongs to another bundle", async () => {
    const file = await copyAs("mixed.tar", (bytes) => {
      // The same length and a right tar header, so that only the digest in mirror.json tells.
      const at = bytes.indexOf("io.containerd.image.name");
      bytes.write("IO", at);
      return bytes;
    });
    expect(await failure(file)).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining("its index.json is not the one that belongs to it"),
    });
  });

  test("a metadata file that claims to be larger than memory", async () => {
    const file = await copyAs("claim.tar", (bytes) => {
      bytes.write("77777777777", 124);
      bytes.write("        ", 148);
      const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
      bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
      return bytes;
    });
    expect(await failure(file)).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining("claims to be 8589934591 bytes long"),
    });
  });
});
