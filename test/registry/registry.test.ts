import { once } from "node:events";
import { connect } from "node:net";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { manifestAccept, mediaTypes } from "../../src/oci/media-types.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { makeCertificates } from "../support/tls.ts";
import { call, closing, locationOf, startUpload } from "./client.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const hello = Buffer.from("hello");
const helloDigest = digestOf(hello);
const octets = { "content-type": "application/octet-stream" };

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry();
});
afterEach(() => registry.close());

describe("uploads", () => {
  test("take a blob in one PUT", async () => {
    const location = await startUpload(registry.url, "a/b");
    const answer = await call("PUT", closing(location, helloDigest), { headers: octets, body: hello });
    expect(answer.status).toBe(201);
    expect(answer.headers["docker-content-digest"]).toBe(helloDigest);
    expect(registry.blob("a/b", helloDigest)).toEqual(hello);
    expect(registry.openUploads).toBe(0);
  });

  test("take a blob in chunks, with a new Location each time", async () => {
    const first = await startUpload(registry.url, "a/b");
    const one = await call("PATCH", first, { headers: octets, body: "he" });
    expect([one.status, one.headers["range"]]).toEqual([202, "0-1"]);
    const two = await call("PATCH", locationOf(one), { headers: octets, body: "llo" });
    expect([two.status, two.headers["range"]]).toEqual([202, "0-4"]);
    const status = await call("GET", locationOf(two));
    expect([status.status, status.headers["range"]]).toEqual([204, "0-4"]);
    expect((await call("PUT", closing(locationOf(two), helloDigest), { headers: octets })).status).toBe(201);
    expect(registry.blob("a/b", helloDigest)).toEqual(hello);
  });

  test("refuse another digest and a digest that is none", async () => {
    for (const digest of [digestOf(Buffer.from("other")), "md5:abc"]) {
      const location = await startUpload(registry.url, "a/b");
      const answer = await call("PUT", closing(location, digest), { headers: octets, body: hello });
      expect([answer.status, answer.codes]).toEqual([400, ["DIGEST_INVALID"]]);
    }
    expect(registry.blob("a/b", helloDigest)).toBeUndefined();
  });

  test("take sha512 and answer with sha256, as distribution 2.8 does", async () => {
    const digest = digestOf(hello, "sha512");
    const location = await startUpload(registry.url, "a/b");
    const answer = await call("PUT", closing(location, digest), { headers: octets, body: hello });
    expect([answer.status, answer.headers["docker-content-digest"]]).toEqual([201, helloDigest]);
    expect((await call("HEAD", `${registry.url}/v2/a/b/blobs/${digest}`)).status).toBe(200);
  });

  test("are gone after DELETE", async () => {
    const location = await startUpload(registry.url, "a/b");
    expect((await call("DELETE", location)).status).toBe(204);
    expect((await call("GET", location)).codes).toEqual(["BLOB_UPLOAD_UNKNOWN"]);
  });

  test("2.8 appends whatever Content-Range says, and wants the state of its last answer", async () => {
    const first = await startUpload(registry.url, "a/b");
    const headers = { ...octets, "content-range": "500-501" };
    expect((await call("PATCH", first, { headers, body: "he" })).headers["range"]).toBe("0-1");
    expect((await call("GET", first)).codes).toEqual(["BLOB_UPLOAD_INVALID"]);
    expect((await call("PATCH", first, { headers: octets, body: "he" })).status).toBe(404);
  });

  test("3 holds to Content-Range and knows a session by its id", async () => {
    await using three = await startRegistry({ dialect: "3" });
    const first = await startUpload(three.url, "a/b");
    const patch = (range: string, body: string): Promise<Awaited<ReturnType<typeof call>>> =>
      call("PATCH", first, { headers: { ...octets, "content-range": range }, body });
    expect((await patch("0-1", "he")).status).toBe(202);
    expect((await patch("0-1", "he")).codes).toEqual(["RANGE_INVALID"]);
    expect((await patch("2-5", "llo")).codes).toEqual(["SIZE_INVALID"]);
    expect((await call("GET", first)).headers["range"]).toBe("0-1");
    expect((await patch("2-4", "llo")).headers["range"]).toBe("0-4");
  });

  test("keep what came before the client went away", async () => {
    await using three = await startRegistry({ dialect: "3" });
    const url = new URL(await startUpload(three.url, "a/b"));
    const socket = connect(Number(url.port), url.hostname);
    const head = `PATCH ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nContent-Length: 100\r\n\r\n`;
    socket.write(`${head}hello`);
    await expect.poll(() => three.requests.at(-1)?.bytesIn).toBe(5);
    socket.destroy();
    await expect.poll(() => three.requests.at(-1)?.endedAt).toBeDefined();
    expect((await call("GET", url.href)).headers["range"]).toBe("0-4");
  });

  test("mount a blob of another repository, or open a session", async () => {
    registry.putBlob("a/b", hello);
    const mount = (query: string) => call("POST", `${registry.url}/v2/c/d/blobs/uploads/?${query}`);
    expect((await mount(`mount=${helloDigest}&from=nowhere`)).status).toBe(202);
    expect((await mount(`mount=${helloDigest}`)).status).toBe(202);
    expect(registry.blob("c/d", helloDigest)).toBeUndefined();
    expect((await mount(`mount=${helloDigest}&from=a/b`)).status).toBe(201);
    expect(registry.blob("c/d", helloDigest)).toEqual(hello);
  });
});

describe("blobs", () => {
  const blobUrl = () => `${registry.url}/v2/a/b/blobs/${helloDigest}`;
  beforeEach(() => {
    registry.putBlob("a/b", hello);
  });

  test("are found by HEAD and GET in their repository only", async () => {
    const head = await call("HEAD", blobUrl());
    expect([head.status, head.headers["content-length"]]).toEqual([200, "5"]);
    expect((await call("GET", blobUrl())).body).toEqual(hello);
    expect((await call("GET", blobUrl().replace("a/b", "c/d"))).codes).toEqual(["BLOB_UNKNOWN"]);
  });

  test.each([
    ["bytes=2-", "llo", "bytes 2-4/5"],
    ["bytes=1-2", "el", "bytes 1-2/5"],
    ["bytes=-2", "lo", "bytes 3-4/5"],
    ["bytes=3-99", "lo", "bytes 3-4/5"],
  ])("serve %s", async (range, text, contentRange) => {
    const answer = await call("GET", blobUrl(), { headers: { range } });
    expect([answer.status, answer.body.toString(), answer.headers["content-range"]]).toEqual([
      206,
      text,
      contentRange,
    ]);
  });

  test("answer a range beyond the end with 416 and a body that never comes", async () => {
    const url = new URL(blobUrl());
    const socket = connect(Number(url.port), url.hostname);
    socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nRange: bytes=5-\r\n\r\n`);
    const [head] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    expect(head.toString()).toMatch(
      /^HTTP\/1.1 416 .*\r\ncontent-range: bytes \*\/5\r\n.*content-length: 5\r\n.*\r\n\r\n$/s,
    );
  });
});

describe("manifests", () => {
  const put = (reference: string, bytes: Buffer, type: string) =>
    call("PUT", `${registry.url}/v2/a/b/manifests/${reference}`, {
      headers: { "content-type": type },
      body: bytes,
    });
  const get = (reference: string, accept: string) =>
    call("GET", `${registry.url}/v2/a/b/manifests/${reference}`, { headers: { accept } });

  test("are taken once everything they lead to is there", async () => {
    const image = await makeImage();
    const { mediaType, digest } = image.descriptor;
    const refused = await put("v1", image.manifest, mediaType);
    expect([refused.status, refused.codes]).toEqual([
      400,
      ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"],
    ]);
    for (const { bytes } of [image.config, ...image.layers]) registry.putBlob("a/b", bytes);
    const taken = await put("v1", image.manifest, mediaType);
    expect([taken.status, taken.headers["docker-content-digest"]]).toEqual([201, digest]);
    expect(registry.manifest("a/b", "v1")).toEqual({ digest, mediaType, bytes: image.manifest });

    const index = makeIndex([image, await makeImage({ platform: "linux/arm64" })]);
    expect((await put("v2", index.manifest, mediaTypes.ociIndex)).codes).toEqual(["MANIFEST_BLOB_UNKNOWN"]);
    expect(registry.tags("a/b")).toEqual(["v1"]);
  });

  test("are refused under another digest or another type", async () => {
    const image = await makeImage();
    for (const { bytes } of [image.config, ...image.layers]) registry.putBlob("a/b", bytes);
    expect((await put(helloDigest, image.manifest, mediaTypes.ociManifest)).codes).toEqual([
      "DIGEST_INVALID",
    ]);
    expect((await put("v1", image.manifest, mediaTypes.dockerManifest)).codes).toEqual(["MANIFEST_INVALID"]);
    expect((await put("v1", hello, mediaTypes.ociManifest)).codes).toEqual(["MANIFEST_INVALID"]);
    expect((await put("v1", Buffer.alloc(4_200_000, " "), mediaTypes.ociManifest)).codes).toEqual([
      "MANIFEST_INVALID",
    ]);
    expect(registry.tags("a/b")).toEqual([]);
  });

  test("are served to who accepts their type by name", async () => {
    const image = await makeImage();
    seed(registry, "a/b", "oci", image);
    expect((await get("oci", manifestAccept)).body).toEqual(image.manifest);
    for (const reference of ["oci", image.descriptor.digest]) {
      const answer = await get(reference, "*/*");
      expect([answer.status, answer.codes]).toEqual([404, ["MANIFEST_UNKNOWN"]]);
    }
    const list = makeIndex([await makeImage({ mediaTypes: "docker" })], { mediaTypes: "docker" });
    seed(registry, "a/b", "docker", list);
    expect((await get("docker", manifestAccept)).body).toEqual(list.manifest);
    expect((await get("docker", mediaTypes.dockerManifest)).body).toEqual(list.children[0]?.manifest);
    expect((await get("docker", "*/*")).headers["content-type"]).toBe(mediaTypes.dockerSchema1Signed);
  });

  test("answer 304 to who has them", async () => {
    const image = await makeImage();
    seed(registry, "a/b", "v1", image);
    const headers = { accept: manifestAccept, "if-none-match": `"${image.descriptor.digest}"` };
    expect((await call("GET", `${registry.url}/v2/a/b/manifests/v1`, { headers })).status).toBe(304);
  });

  test("are deleted by digest with their tags, and by tag only from 3 on", async () => {
    const image = await makeImage();
    seed(registry, "a/b", "v1", image);
    const remove = (url: string, reference: string) => call("DELETE", `${url}/v2/a/b/manifests/${reference}`);
    expect((await remove(registry.url, "v1")).codes).toEqual(["DIGEST_INVALID"]);
    expect((await remove(registry.url, image.descriptor.digest)).status).toBe(202);
    expect((await remove(registry.url, image.descriptor.digest)).status).toBe(404);
    expect((await call("GET", `${registry.url}/v2/a/b/tags/list`)).body.toString()).toContain('"tags":null');
    await using three = await startRegistry({ dialect: "3" });
    seed(three, "a/b", "v1", image);
    expect((await remove(three.url, "v1")).status).toBe(202);
    expect(three.manifest("a/b", image.descriptor.digest)).toBeDefined();
  });
});

describe("lists", () => {
  const json = async (url: string): Promise<unknown> => JSON.parse((await call("GET", url)).body.toString());

  test("give all tags in 2.8, pages in 3, and NAME_UNKNOWN without any", async () => {
    await using three = await startRegistry({ dialect: "3" });
    for (const target of [registry, three])
      for (const tag of ["b", "a"]) target.putManifest("x", tag, hello, "text/plain");
    expect(await json(`${registry.url}/v2/x/tags/list?n=1`)).toEqual({ name: "x", tags: ["b", "a"] });
    const page = await call("GET", `${three.url}/v2/x/tags/list?n=1`);
    expect(JSON.parse(page.body.toString())).toEqual({ name: "x", tags: ["a"] });
    expect(page.headers["link"]).toBe('</v2/x/tags/list?last=a&n=1>; rel="next"');
    expect((await call("GET", `${registry.url}/v2/y/tags/list`)).codes).toEqual(["NAME_UNKNOWN"]);
  });

  test("page the catalog", async () => {
    for (const repository of ["b/c", "a", "d"]) registry.putBlob(repository, hello);
    const first = await call("GET", `${registry.url}/v2/_catalog?n=2`);
    expect(JSON.parse(first.body.toString())).toEqual({ repositories: ["a", "b/c"] });
    expect(first.headers["link"]).toBe('</v2/_catalog?last=b%2Fc&n=2>; rel="next"');
    expect(await json(`${registry.url}/v2/_catalog?last=b%2Fc&n=2`)).toEqual({ repositories: ["d"] });
    expect((await call("GET", `${registry.url}/v2/_catalog?n=1001`)).codes).toEqual([
      "PAGINATION_NUMBER_INVALID",
    ]);
  });
});

test("unknown paths and names are plain 404 pages", async () => {
  for (const path of ["/", "/v2/A/B/tags/list", `/v2/a/b/referrers/${helloDigest}`]) {
    const answer = await call("GET", `${registry.url}${path}`);
    expect([answer.status, answer.body.toString()]).toEqual([404, "404 page not found\n"]);
  }
});

test("the log has every request in order, with what moved", async () => {
  registry.putBlob("a/b", hello);
  await call("GET", `${registry.url}/v2/a/b/blobs/${helloDigest}`, { headers: { "x-test": "1" } });
  const location = await startUpload(registry.url, "a/b");
  await call("PATCH", location, { headers: octets, body: "some" });
  expect(
    registry.requests.map(({ method, status, bytesIn, bytesOut }) => ({ method, status, bytesIn, bytesOut })),
  ).toEqual([
    { method: "GET", status: 200, bytesIn: 0, bytesOut: 5 },
    { method: "POST", status: 202, bytesIn: 0, bytesOut: 0 },
    { method: "PATCH", status: 202, bytesIn: 4, bytesOut: 0 },
  ]);
  expect(registry.requests[0]?.headers["x-test"]).toBe("1");
  expect(registry.count("GET", /\/blobs\/sha256:/)).toBe(1);
  expect(registry.count("PATCH", /_state=/)).toBe(1);
  registry.resetLog();
  expect(registry.requests).toEqual([]);
});

test("speaks HTTPS with a certificate of a private CA, and can ask for a client's", async () => {
  await using certificates = await makeCertificates(["registry.test"]);
  const { ca, server, client } = certificates;
  await using open = await startRegistry({ tls: server });
  await using closed = await startRegistry({ tls: { ...server, clientCa: ca.cert } });
  const ping = async (target: TestRegistry, options: object): Promise<number> => {
    const dispatcher = new Agent({ connect: { ca: ca.cert, ...options } });
    try {
      return (await call("GET", `${target.url}/v2/`, { dispatcher })).status;
    } finally {
      await dispatcher.destroy();
    }
  };
  expect(open.url).toMatch(/^https:/);
  expect(await ping(open, {})).toBe(200);
  expect(await ping(open, { servername: "registry.test" })).toBe(200);
  await expect(ping(open, { ca: client.cert })).rejects.toThrow();
  await expect(ping(closed, {})).rejects.toThrow();
  expect(await ping(closed, { key: client.key, cert: client.cert })).toBe(200);
});
