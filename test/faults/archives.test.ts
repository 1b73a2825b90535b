/** Row 51 of the fault list: archives that are built to mislead or to overwhelm. Nothing of them is written anywhere. */

import { createWriteStream } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip, gzipSync, zstdCompressSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBundle } from "../../src/bundle/open.ts";
import { AppError } from "../../src/errors.ts";
import { hexOf } from "../../src/oci/digest.ts";
import type { Problem } from "../../src/sync/verify.ts";
import { dockerSaveEntries, type Entry, ociEntries, tarOf } from "../support/archives.ts";
import { openFromPipe } from "../support/hostile-archives.ts";
import { makeImage, type TestImage } from "../support/images.ts";
import { findProblems } from "../support/pipeline.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let app: TestImage;
beforeEach(async () => {
  folder = await tempDir();
  app = await makeImage({ seed: "app", layers: [100_000] });
});
afterEach(async () => await folder[Symbol.asyncDispose]());

const named = { "io.containerd.image.name": "docker.io/team/app:1.0" };
const oci = (): readonly Entry[] => ociEntries([{ content: app, annotations: named }]);
const saved = (): readonly Entry[] => dockerSaveEntries([{ image: app, tags: ["team/app:1.0"] }]);

/** Opens an archive and reads all of it, from a file and from a pipe. Nothing may be beside it afterwards. */
async function read(bytes: Buffer): Promise<readonly string[]> {
  const piped = openFromPipe(bytes).then(findProblems);
  piped.catch(() => undefined);
  try {
    const found = await readFile(bytes);
    expect((await piped).map(({ digest }) => digest)).toEqual(found.map(({ digest }) => digest));
    return found.map(({ message }) => message);
  } catch (error) {
    if (error instanceof AppError) expect(await failure(piped)).toMatchObject({ code: error.code });
    throw error;
  }
}
async function readFile(bytes: Buffer): Promise<readonly Problem[]> {
  await writeFile(folder.join("x.tar"), bytes);
  await using bundle = await openBundle(folder.join("x.tar"));
  return await findProblems(bundle);
}
const failure = async (reading: Promise<unknown>): Promise<unknown> =>
  await reading.then(
    (found) => new Error(`it was read: ${String(found)}`),
    (thrown: unknown) => thrown,
  );

/** What an archive is refused with; plain and compressed, and from a pipe, it is the same. */
async function refused(tar: Buffer): Promise<AppError> {
  const failures: AppError[] = [];
  for (const bytes of [tar, gzipSync(tar, { level: 1 }), zstdCompressSync(tar)]) {
    const error = await failure(readFile(bytes));
    if (!(error instanceof AppError)) throw error;
    failures.push(error);
    expect(await failure(openFromPipe(bytes).then(findProblems))).toMatchObject({ code: error.code });
    expect(await readdir(folder.path)).toEqual(["x.tar"]);
  }
  const [plain] = failures;
  if (plain === undefined) throw new Error("nothing was tried");
  for (const { code } of failures) expect(code).toBe(plain.code);
  return plain;
}

/** A tar whose header at an entry is changed, with a checksum that fits again. */
async function changed(
  entries: readonly Entry[],
  name: string,
  change: (header: Buffer) => void,
): Promise<Buffer> {
  const tar = await tarOf(entries);
  const at = tar.indexOf(Buffer.from(`${name}\0`, "latin1"));
  const header = tar.subarray(at, at + 512);
  change(header);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return tar;
}

test.each([
  "../../../../tmp/evil",
  "blobs/../../evil",
  "/etc/cron.d/evil",
  "..",
  "C:/evil",
  "blobs\\sha256\\evil",
])("row 51: a name that leads out of the archive is refused (%s)", async (name) => {
  const error = await refused(await tarOf([...oci(), { name, content: "evil" }]));
  expect(error).toMatchObject({
    code: "INTEGRITY",
    message: `Cannot read ${folder.join("x.tar")}: an entry is called ${JSON.stringify(name)}, a path out of the archive`,
  });
});

test.each(["symlink", "link"] as const)(
  "row 51: a blob or index.json that is a %s is refused",
  async (type) => {
    const blob = `blobs/sha256/${hexOf(app.config.descriptor.digest)}`;
    for (const name of [blob, "index.json", "manifest.json"]) {
      const others = oci().filter((entry) => entry.name !== name);
      const error = await refused(await tarOf([...others, { name, type, linkname: "/etc/passwd" }]));
      expect(error.message).toContain(`its ${name} is a link`);
    }
  },
);

test("row 51: links of layers are followed inside of the archive only", async () => {
  const layer = saved().find(({ name }) => name.endsWith("/layer.tar"));
  if (layer === undefined) throw new Error("there is a layer");
  const others = saved().filter((entry) => entry.name !== layer.name);
  const link = (linkname: string, type: "symlink" | "link" = "symlink"): Entry => ({
    name: layer.name,
    type,
    linkname,
  });
  const chain = (length: number): Entry[] =>
    Array.from({ length }, (_, at) => ({
      name: `${at}/layer.tar`,
      type: "symlink" as const,
      linkname: `../${at + 1 === length ? "real" : at + 1}/layer.tar`,
    }));
  const real = { ...layer, name: "real/layer.tar" };
  for (const good of [link("../real/layer.tar"), link("real/layer.tar", "link")])
    expect(await read(await tarOf([...others, good, real]))).toEqual([]);
  expect(await read(await tarOf([...others, link("../0/layer.tar"), ...chain(7), real]))).toEqual([]);
  const deep = await refused(await tarOf([...others, link("../0/layer.tar"), ...chain(9), real]));
  expect(deep.message).toContain("is a link that leads on and on");
  for (const target of ["../../../etc/passwd", "/etc/passwd"]) {
    const error = await refused(await tarOf([...others, link(target)]));
    expect(error.message).toContain(`to ${JSON.stringify(target)}, out of the archive`);
  }
  const ring = await refused(
    await tarOf([
      ...others,
      link("../a/layer.tar"),
      { name: "a/layer.tar", type: "symlink", linkname: `../${layer.name}` },
    ]),
  );
  expect(ring.message).toContain("is a link that leads on and on");
  const nowhere = await refused(await tarOf([...others, link("../gone/layer.tar")]));
  expect(nowhere.message).toContain('is a link to "gone/layer.tar", which is not there');
});

test("row 51: devices are passed over, and refused in the place of content", async () => {
  const devices = (["character-device", "block-device", "fifo"] as const).map((type) => ({
    name: `dev/${type}`,
    type,
  }));
  expect(await read(await tarOf([...devices, ...oci()]))).toEqual([]);
  const blob = `blobs/sha256/${hexOf(app.config.descriptor.digest)}`;
  const others = oci().filter(({ name }) => name !== blob);
  const error = await refused(
    await tarOf([...others, { name: blob, type: "character-device", devmajor: 1, devminor: 5 }]),
  );
  expect(error.message).toContain(`its ${blob} is no regular file`);
});

test("row 51: two files of one name are refused if they differ", async () => {
  const blob = oci().find(({ name }) => name.startsWith("blobs/"));
  const size = Buffer.from(blob?.content ?? "").byteLength;
  for (const twin of [
    { name: "index.json", content: '{"schemaVersion":2,"manifests":[]}' },
    { name: "./index.json", content: "{}" },
    { name: blob?.name ?? "", content: Buffer.alloc(size) },
  ]) {
    const error = await refused(await tarOf([...oci(), twin]));
    expect(error).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining("readers would disagree"),
    });
  }
  expect(await read(await tarOf([...oci(), ...oci()]))).toEqual([]);
});

test("row 51: sparse files of GNU tar are refused, in both ways to write them", async () => {
  const old = await changed(oci(), "index.json", (header) => header.write("S", 156));
  const pax = await tarOf(
    oci().map((entry) =>
      entry.name === "index.json" ? { ...entry, pax: { "GNU.sparse.major": "1" } } : entry,
    ),
  );
  for (const tar of [old, pax])
    expect((await refused(tar)).message).toContain('"index.json" is a sparse file');
});

test.each([
  ["negative", (header: Buffer) => header.fill(0xff, 124, 136)],
  ["beyond what can be counted", (header: Buffer) => header.fill(0xff, 125, 136).writeUInt8(0x80, 124)],
  ["of other signs", (header: Buffer) => header.write("00000zz1234\0", 124)],
] as const)("row 51: a size that is %s is refused", async (_, change) => {
  const error = await refused(await changed(oci(), "index.json", change));
  expect(error).toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining("has a size that is not a number"),
  });
});

test("row 51: a size that is a lie is found where the file ends", async () => {
  const tar = await changed(oci(), "oci-layout", (header) => header.write("00077777777\0", 124));
  expect(await refused(tar)).toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining("truncated"),
  });
  const pax = await tarOf([{ ...(oci()[0] ?? { name: "" }), pax: { size: "99999999" } }, ...oci().slice(1)]);
  expect(await refused(pax)).toMatchObject({ code: "INTEGRITY" });
});

test("row 51: a truncated archive is refused wherever it ends", async () => {
  const tar = await tarOf(oci());
  for (const length of [100, 511, 513, 700, 1024, 50_000, tar.byteLength - 1530]) {
    const error = await refused(tar.subarray(0, length));
    expect(["INTEGRITY", "BUNDLE"]).toContain(error.code);
  }
  for (const compress of [gzipSync, zstdCompressSync]) {
    const whole = compress(tar);
    for (const part of [0.1, 0.5, 0.99])
      await expect(read(whole.subarray(0, Math.floor(whole.byteLength * part)))).rejects.toMatchObject({
        code: "INTEGRITY",
        message: expect.stringContaining("is damaged or truncated"),
      });
  }
});

test("row 51: what stands behind the end is nothing, and one empty block is no end", async () => {
  const tar = await tarOf(oci());
  const garbage = Buffer.from("garbage ".repeat(1000));
  expect(await read(Buffer.concat([tar, garbage]))).toEqual([]);
  expect(await read(tar.subarray(0, -1024))).toEqual([]);
  const blob = await tarOf([{ name: "index.json", content: "{}" }]);
  const error = await refused(Buffer.concat([tar.subarray(0, -512), blob]));
  expect(error.message).toContain("there is a single empty block");
  await expect(read(Buffer.concat([gzipSync(tar), garbage]))).rejects.toMatchObject({ code: "INTEGRITY" });
});

test("row 51: metadata of a gigabyte is not read", async () => {
  for (const name of ["index.json", "oci-layout", "manifest.json"]) {
    const others = oci().filter((entry) => entry.name !== name);
    const error = await refused(await tarOf([...others, { name, content: Buffer.alloc(5_000_000, " ") }]));
    expect(error).toMatchObject({
      code: "BUNDLE",
      message: expect.stringContaining("and at most 4194304 are read"),
    });
  }
  const long = await refused(
    await tarOf([{ ...(oci()[0] ?? { name: "" }), pax: { comment: "x".repeat(2_000_000) } }]),
  );
  expect(long).toMatchObject({
    code: "BUNDLE",
    message: expect.stringContaining("extended headers are longer"),
  });
});

/** A header of an empty file, to be repeated. */
async function* many(header: Buffer, count: number): AsyncGenerator<Buffer> {
  const block = Buffer.concat(Array.from({ length: 1000 }, () => header));
  for (let at = 0; at < count; at += 1000) yield block;
}

test("row 51: millions of entries end it", async () => {
  const header = (await tarOf([{ name: "docs/empty", content: "" }])).subarray(0, 512);
  const path = folder.join("many.tar.gz");
  await pipeline(Readable.from(many(header, 600_000)), createGzip({ level: 1 }), createWriteStream(path));
  await expect(openBundle(path)).rejects.toMatchObject({
    code: "BUNDLE",
    message: expect.stringContaining("more than 500000 entries"),
  });
}, 60_000);

test("row 51: a bomb is given up", async () => {
  const header = (await tarOf([{ name: "blob.tar", content: "" }])).subarray(0, 512);
  header.write("00000000000\0", 124);
  header.fill(0, 124, 136);
  // Two hundred gigabytes.
  header.writeUInt8(0x80, 124);
  header.writeUIntBE(200_000_000_000, 130, 6);
  header.fill(" ", 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  const zstd = zstdCompressSync(zeros);
  const path = folder.join("bomb.tar.zst");
  await writeFile(
    path,
    Buffer.concat([zstdCompressSync(header), ...Array.from({ length: 1000 }, () => zstd)]),
  );
  await expect(openBundle(path)).rejects.toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining("as if it were made to fill a disk"),
  });
}, 60_000);
