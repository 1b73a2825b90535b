/** The faults of blobs and lists do what they say. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type Answer, call } from "./client.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const bytes = randomBytesOf("faults", 5000);
const digest = digestOf(bytes);

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry();
  seed(registry, "a/b", "v1", await makeImage());
  registry.putBlob("a/b", bytes);
});
afterEach(() => registry.close());

const getBlob = (headers = {}): Promise<Answer> =>
  call("GET", `${registry.url}/v2/a/b/blobs/${digest}`, { headers });
const getTags = (query = ""): Promise<Answer> => call("GET", `${registry.url}/v2/a/b/tags/list${query}`);

describe("blobs", () => {
  test.each([
    ["start", "bytes 101-199/5000"],
    ["total", "bytes 100-199/5001"],
    ["unknown", "bytes */5000"],
    ["none", undefined],
    ["length", "bytes 100-199/5000"],
    ["multipart", "bytes 100-199/5000"],
    ["shorter", "bytes 100-149/5000"],
  ] as const)("odd-range: %s", async (kind, range) => {
    registry.fault("odd-range", { kind, bytes: 50 });
    const answer = await getBlob({ range: "bytes=100-199" });
    expect([answer.status, answer.headers["content-range"]]).toEqual([206, range]);
    const lengths = { length: 99, shorter: 50 };
    if (kind === "length" || kind === "shorter") expect(answer.body).toHaveLength(lengths[kind]);
    if (kind === "multipart") expect(answer.headers["content-type"]).toContain("multipart/byteranges");
    expect((await getBlob()).status).toBe(200);
  });

  test("refuse-ranges: open ones only, or all", async () => {
    const url = `${registry.url}/v2/a/b/blobs/${digest}`;
    const refused = async (range: string): Promise<boolean> => {
      const response = await fetch(url, { headers: { range } });
      // The body that it promises never comes.
      await response.body?.cancel();
      return response.status === 416;
    };
    const open = registry.fault("refuse-ranges", { only: "open" });
    expect([await refused("bytes=100-"), await refused("bytes=100-199")]).toEqual([true, false]);
    open.remove();
    registry.fault("refuse-ranges");
    expect([await refused("bytes=100-"), await refused("bytes=100-199")]).toEqual([true, true]);
    expect((await getBlob()).body).toEqual(bytes);
  });

  test("drop-body-at-random is the same every time", async () => {
    const lengths: number[][] = [];
    for (let run = 0; run < 2; run += 1) {
      registry.resetLog();
      const fault = registry.fault("drop-body-at-random", { min: 10, max: 2000, seed: 7 });
      for (let at = 0; at < 5; at += 1) await getBlob().catch(() => undefined);
      fault.remove();
      lengths.push(registry.requests.map(({ bytesOut }) => bytesOut));
    }
    expect(lengths[0]).toEqual(lengths[1]);
    expect(new Set(lengths[0]).size).toBe(5);
    for (const length of lengths[0] ?? []) {
      expect(length).toBeGreaterThanOrEqual(10);
      expect(length).toBeLessThan(2000);
    }
  });

  test("encode-blob labels, or encodes", async () => {
    const label = registry.fault("encode-blob", { coding: "x-gzip" });
    const labelled = await getBlob();
    expect(labelled.headers["content-encoding"]).toBe("x-gzip");
    expect(labelled.headers["content-length"]).toBeUndefined();
    expect(labelled.body).toEqual(bytes);
    label.remove();
    const encoded = registry.fault("encode-blob", { really: true, length: true });
    const answer = await getBlob({ range: "bytes=100-199" });
    expect(answer.status).toBe(200);
    expect(Number(answer.headers["content-length"])).toBe(answer.body.length);
    expect(gunzipSync(answer.body)).toEqual(bytes);
    encoded.remove();
    registry.fault("encode-blob", { really: true, coding: "zstd" });
    expect(zstdDecompressSync((await getBlob()).body)).toEqual(bytes);
  });

  test("expired-signature and signed-for-get are the storage's", async () => {
    registry.fault("redirect-blobs");
    registry.fault("signed-for-get");
    const location = String((await getBlob()).headers["location"]);
    expect((await call("HEAD", location)).status).toBe(403);
    expect((await call("GET", location)).body).toEqual(bytes);
    registry.fault("expired-signature");
    const refused = await call("GET", location);
    expect([refused.status, refused.body.toString("utf8")]).toEqual([
      403,
      expect.stringContaining("Request has expired"),
    ]);
  });

  test("web-page", async () => {
    registry.fault("web-page");
    const answer = await getBlob();
    expect([answer.status, answer.headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
  });
});

describe("lists", () => {
  test("small-pages and page-maximum", async () => {
    await using three = await startRegistry({ dialect: "3" });
    for (const name of ["x", "y", "z"]) seed(three, "a/b", name, await makeImage());
    const tags = async (query = ""): Promise<Answer> =>
      await call("GET", `${three.url}/v2/a/b/tags/list${query}`);
    const small = three.fault("small-pages", { size: 2, link: (link) => link.replace("next", "prev") });
    const page = await tags("?n=1000");
    expect(JSON.parse(page.body.toString("utf8"))).toMatchObject({ tags: ["x", "y"] });
    expect(page.headers["link"]).toContain('rel="prev"');
    small.remove();
    three.fault("page-maximum", { most: 10 });
    expect((await tags("?n=11")).status).toBe(400);
    expect((await tags("?n=10")).status).toBe(200);
  });

  test("endless-pages, odd-tags and no-catalog", async () => {
    const endless = registry.fault("endless-pages");
    const links = [await getTags(), await getTags()].map(({ headers }) => headers["link"]);
    expect(new Set(links).size).toBe(2);
    endless.remove();
    const odd = registry.fault("odd-tags", { tags: [null, ""] });
    expect(JSON.parse((await getTags()).body.toString("utf8"))).toMatchObject({ tags: [null, ""] });
    odd.remove();
    registry.fault("no-catalog", { status: 501 });
    expect((await call("GET", `${registry.url}/v2/_catalog`)).status).toBe(501);
    expect((await getTags()).status).toBe(200);
  });
});
