import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { manifestAccept } from "../../src/oci/media-types.ts";
import { makeImage, seed, type TestImage } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type Answer, call, closing, locationOf, startUpload } from "./client.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const bytes = randomBytesOf("faults", 5000);
const digest = digestOf(bytes);
const octets = { "content-type": "application/octet-stream" };

let registry: TestRegistry;
let image: TestImage;
beforeEach(async () => {
  registry = await startRegistry();
  image = await makeImage();
  seed(registry, "a/b", "v1", image);
  registry.putBlob("a/b", bytes);
});
afterEach(() => registry.close());

const getBlob = (headers = {}): Promise<Answer> =>
  call("GET", `${registry.url}/v2/a/b/blobs/${digest}`, { headers });
const getManifest = (): Promise<Answer> =>
  call("GET", `${registry.url}/v2/a/b/manifests/v1`, { headers: { accept: manifestAccept } });
const putManifest = (reference: string): Promise<Answer> =>
  call("PUT", `${registry.url}/v2/a/b/manifests/${reference}`, {
    headers: { "content-type": image.descriptor.mediaType },
    body: image.manifest,
  });

function differingBits(one: Buffer, other: Buffer): number {
  expect(one).toHaveLength(other.length);
  let count = 0;
  for (const [index, byte] of one.entries()) {
    for (let rest = byte ^ (other[index] ?? 0); rest > 0; rest >>= 1) count += rest & 1;
  }
  return count;
}

describe("when a fault strikes", () => {
  test("only so many times, after so many requests, and on its match", async () => {
    const path = /\/blobs\//;
    const fault = registry.fault("status", {
      status: 503,
      times: 2,
      skip: 1,
      match: { method: "GET", path },
    });
    const statuses: number[] = [];
    for (let index = 0; index < 4; index += 1) statuses.push((await getBlob()).status);
    expect(statuses).toEqual([200, 503, 503, 200]);
    expect((await getManifest()).status).toBe(200);
    expect(fault.hits).toBe(2);
  });

  test("side by side requests never share a strike", async () => {
    registry.fault("status", { status: 503, times: 3 });
    const answers = await Promise.all(Array.from({ length: 8 }, () => getBlob()));
    expect(answers.filter(({ status }) => status === 503)).toHaveLength(3);
  });

  test("it can be turned off", async () => {
    const fault = registry.fault("status");
    registry.fault("head-405");
    expect(registry.faults.map(({ name }) => name)).toEqual(["status", "head-405"]);
    expect((await getBlob()).status).toBe(500);
    fault.remove();
    expect((await getBlob()).status).toBe(200);
    registry.clearFaults();
    expect(registry.faults).toEqual([]);
  });

  test("credentials come first, unless it says otherwise", async () => {
    await using closed = await startRegistry({ auth: { type: "basic", users: {} } });
    const late = closed.fault("status", { status: 418 });
    expect((await call("GET", `${closed.url}/v2/`)).status).toBe(401);
    expect(late.hits).toBe(0);
    closed.fault("status", { status: 418, beforeAuth: true });
    expect((await call("GET", `${closed.url}/v2/`)).status).toBe(418);
  });

  test("a test may bring its own", async () => {
    registry.customFault("teapot", { path: /^\/v2\/$/, intercept: () => ({ status: 418 }) });
    expect((await call("GET", `${registry.url}/v2/`)).status).toBe(418);
  });
});

describe("reading", () => {
  test("drop-body-after sends so many bytes and cuts", async () => {
    registry.fault("drop-body-after", { bytes: 1234, times: 1 });
    await expect(getBlob()).rejects.toThrow();
    expect(registry.requests.at(-1)?.bytesOut).toBe(1234);
    expect((await getBlob({ range: "bytes=1234-4999" })).body).toEqual(bytes.subarray(1234));
  });

  test("unframed-body looks whole and is short", async () => {
    registry.fault("unframed-body", { bytes: 7 });
    const answer = await getBlob();
    expect([answer.status, answer.headers["content-length"]]).toEqual([200, undefined]);
    expect(answer.body).toEqual(bytes.subarray(0, 7));
  });

  test("ignore-range answers with everything", async () => {
    registry.fault("ignore-range");
    const answer = await getBlob({ range: "bytes=10-19" });
    expect([answer.status, answer.body.length]).toEqual([200, 5000]);
  });

  test("corrupt-blob and corrupt-manifest flip one bit and leave the store alone", async () => {
    registry.fault("corrupt-blob", { times: 1 });
    registry.fault("corrupt-manifest", { times: 1, at: 3 });
    expect(differingBits((await getBlob()).body, bytes)).toBe(1);
    expect(differingBits((await getManifest()).body, image.manifest)).toBe(1);
    expect((await getBlob()).body).toEqual(bytes);
    expect((await getManifest()).body).toEqual(image.manifest);
  });

  test("wrong-digest-header and no-digest-header", async () => {
    registry.fault("wrong-digest-header", { times: 1 });
    const wrong = (await getManifest()).headers["docker-content-digest"];
    expect(wrong).toMatch(/^sha256:/);
    expect(wrong).not.toBe(image.descriptor.digest);
    registry.fault("no-digest-header");
    const answer = await getManifest();
    expect([answer.status, answer.headers["docker-content-digest"]]).toEqual([200, undefined]);
  });

  test("head-405 leaves GET alone", async () => {
    registry.fault("head-405");
    expect((await call("HEAD", `${registry.url}/v2/a/b/blobs/${digest}`)).status).toBe(405);
    expect((await getBlob()).status).toBe(200);
  });

  test("redirect-blobs leads to a bucket that wants its signature and no credentials", async () => {
    registry.fault("redirect-blobs");
    const answer = await getBlob();
    expect(answer.status).toBe(307);
    const target = locationOf(answer);
    expect(new URL(target).host).not.toBe(registry.host);
    expect((await call("GET", target, { headers: { range: "bytes=0-1" } })).body).toEqual(
      bytes.subarray(0, 2),
    );
    expect((await call("GET", target, { headers: { authorization: "Bearer x" } })).status).toBe(400);
    expect((await call("GET", target.replace(/signature=.*/, "signature=old"))).status).toBe(403);
    expect(registry.requests.filter(({ origin }) => origin === "storage")[1]?.headers.authorization).toBe(
      "Bearer x",
    );
    expect((await call("GET", `${registry.url}/v2/a/b/blobs/${digestOf(Buffer.from("none"))}`)).status).toBe(
      404,
    );
  });

  test("slow never answers, and closing the registry ends it", async () => {
    registry.fault("slow");
    const open = getBlob();
    const refused = expect(open).rejects.toThrow();
    await expect.poll(() => registry.requests).toHaveLength(1);
    expect(registry.requests[0]).toMatchObject({ status: 0, endedAt: undefined });
    await registry.close();
    await refused;
  });

  test("rate-limit and status answer as they are told", async () => {
    registry.fault("rate-limit", { retryAfter: "7", times: 1 });
    const limited = await getBlob();
    expect([limited.status, limited.headers["retry-after"], limited.codes]).toEqual([
      429,
      "7",
      ["TOOMANYREQUESTS"],
    ]);
    registry.fault("status", { status: 502, headers: { "x-proxy": "yes" }, body: "<html>" });
    const answer = await getBlob();
    expect([answer.status, answer.headers["x-proxy"], answer.body.toString()]).toEqual([
      502,
      "yes",
      "<html>",
    ]);
  });
});

describe("writing", () => {
  const mount = () => call("POST", `${registry.url}/v2/c/d/blobs/uploads/?mount=${digest}&from=a/b`);

  test("relative-location gives paths that work", async () => {
    registry.fault("relative-location");
    const location = await startUpload(registry.url, "a/b");
    expect(location).toMatch(/^\/v2\/a\/b\/blobs\/uploads\/.+\?_state=/);
    expect((await call("GET", `${registry.url}${location}`)).status).toBe(204);
  });

  test("refuse-mount opens a session, or answers with its status", async () => {
    registry.fault("refuse-mount", { times: 1 });
    expect((await mount()).status).toBe(202);
    const refusal = registry.fault("refuse-mount", { status: 403 });
    expect((await mount()).status).toBe(403);
    expect((await call("POST", `${registry.url}/v2/c/d/blobs/uploads/`)).status).toBe(202);
    expect(refusal.hits).toBe(1);
    expect(registry.blob("c/d", digest)).toBeUndefined();
  });

  test("reject-patch takes whole blobs only", async () => {
    registry.fault("reject-patch", { status: 416 });
    const location = await startUpload(registry.url, "c/d");
    expect((await call("PATCH", location, { headers: octets, body: bytes })).codes).toEqual([
      "RANGE_INVALID",
    ]);
    expect((await call("PUT", closing(location, digest), { headers: octets, body: bytes })).status).toBe(201);
  });

  test.each(["known", "chunked"])(
    "body-limit refuses bodies of %s length that are over it",
    async (length) => {
      registry.fault("body-limit", { bytes: 1000 });
      const put = async (content: Buffer): Promise<number> => {
        const location = closing(await startUpload(registry.url, "c/d"), digestOf(content));
        const body = length === "known" ? content : pieces(content);
        return (await call("PUT", location, { headers: octets, body })).status;
      };
      expect(await put(randomBytesOf("large", 300_000))).toBe(413);
      expect(await put(bytes.subarray(0, 1000))).toBe(201);
    },
  );

  test("drop-upload-after reads so many bytes and cuts", async () => {
    registry.fault("drop-upload-after", { bytes: 1000, times: 1 });
    const location = await startUpload(registry.url, "c/d");
    await expect(call("PATCH", location, { headers: octets, body: bytes })).rejects.toThrow();
    expect((await call("GET", location)).codes).toEqual(["BLOB_UPLOAD_INVALID"]);
    expect(registry.blob("c/d", digest)).toBeUndefined();
  });

  test("forget-uploads loses a session for good", async () => {
    registry.fault("forget-uploads", { times: 1 });
    const location = await startUpload(registry.url, "c/d");
    const patch = () => call("PATCH", location, { headers: octets, body: bytes });
    expect((await patch()).codes).toEqual(["BLOB_UPLOAD_UNKNOWN"]);
    expect((await patch()).codes).toEqual(["BLOB_UPLOAD_UNKNOWN"]);
    expect(registry.openUploads).toBe(0);
  });

  test("altering-registry answers with the digest of what it made of a manifest", async () => {
    registry.fault("altering-registry");
    for (const reference of ["v2", image.descriptor.digest]) {
      const answer = await putManifest(reference);
      expect(answer.status).toBe(201);
      const stored = registry.manifest("a/b", String(answer.headers["docker-content-digest"]));
      expect(stored?.bytes.length).toBe(image.manifest.length + 1);
    }
    expect(registry.manifest("a/b", "v2")?.digest).not.toBe(image.descriptor.digest);
  });
});

async function* pieces(content: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < content.length; at += 500) yield content.subarray(at, at + 500);
}
