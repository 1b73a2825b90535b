import { extract, type Header } from "tar-stream";
import { describe, expect, test } from "vitest";
import { blockBytes, endBytes, paddingOf, readHeader, tarHeader } from "../../src/bundle/tar-header.ts";

/** What tar-stream makes of a header; the content does not have to be there. */
async function read(header: Buffer): Promise<Header> {
  const archive = extract();
  archive.on("error", () => undefined);
  const found = new Promise<Header>((resolve) => archive.on("entry", (entry) => resolve(entry)));
  archive.write(header);
  const entry = await found;
  archive.destroy();
  return entry;
}

test("everything that could differ between two runs is fixed", async () => {
  const header = await tarHeader("oci-layout", 30);
  expect(header).toHaveLength(blockBytes);
  expect(await read(header)).toMatchObject({
    name: "oci-layout",
    size: 30,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: new Date(0),
    type: "file",
    linkname: null,
    uname: "",
    gname: "",
  });
  expect((await tarHeader("oci-layout", 30)).equals(header)).toBe(true);
});

test("a size over 8 GiB is written in base 256, in one block and without PAX", async () => {
  const largest = 8 * 1024 ** 3 - 1;
  const octal = await tarHeader("blobs/sha256/aa", largest);
  expect(octal.toString("latin1", 124, 135)).toBe("77777777777");
  for (const size of [largest + 1, 3 * 1024 ** 4, Number.MAX_SAFE_INTEGER]) {
    const header = await tarHeader("blobs/sha256/aa", size);
    expect(header).toHaveLength(blockBytes);
    expect(header.readUInt8(124)).toBe(0x80);
    expect(header.readBigUInt64BE(128)).toBe(BigInt(size));
    expect((await read(header)).size).toBe(size);
  }
});

test("the name of a sha512 blob gets a PAX header, and readers see the whole name", async () => {
  const name = `blobs/sha512/${"ab".repeat(64)}`;
  const header = await tarHeader(name, 7);
  expect(header.byteLength % blockBytes).toBe(0);
  expect(header.byteLength).toBeGreaterThan(blockBytes);
  expect(await read(header)).toMatchObject({ name, size: 7, mtime: new Date(0), uid: 0 });
  expect((await tarHeader(name, 7)).equals(header)).toBe(true);
});

describe("readHeader", () => {
  test("gives name and size of a plain header", async () => {
    expect(readHeader(await tarHeader("index.json", 1234))).toEqual({ name: "index.json", size: 1234 });
  });

  test("gives nothing for an empty block", () => {
    expect(readHeader(Buffer.alloc(blockBytes))).toBeUndefined();
  });

  test("refuses a header with any flipped bit", async () => {
    const header = await tarHeader("index.json", 1234);
    const refused = (at: number, bit: number): boolean => {
      const copy = Buffer.from(header);
      copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at);
      try {
        readHeader(copy);
        return false;
      } catch {
        return true;
      }
    };
    // The checksum's own field ends with a NUL and a space, which say nothing: the reader compares whole headers.
    const silent = Array.from({ length: blockBytes * 8 }, (_, at) => at).filter(
      (at) => !refused(at >> 3, at & 7),
    );
    expect(silent.every((at) => at >> 3 >= 148 + 6 && at >> 3 < 156)).toBe(true);
  });
});

test("padding fills the last block", () => {
  expect([0, 1, 511, 512, 513].map(paddingOf)).toEqual([0, 511, 1, 0, 511]);
  expect(endBytes).toBe(2 * blockBytes);
});
