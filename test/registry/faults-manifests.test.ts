/** The faults of manifests and referrers do what they say. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { manifestAccept, mediaTypes } from "../../src/oci/media-types.ts";
import { makeArtifact, makeImage, seed } from "../support/images.ts";
import { type Answer, call } from "./client.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const image = await makeImage();
const about = (name: string): ReturnType<typeof makeArtifact> =>
  makeArtifact({
    configType: `a/${name}`,
    config: "{}",
    files: [],
    subject: image.descriptor,
  });
const [one, two] = [about("one"), about("two")];
const missing = digestOf(Buffer.from("missing"));

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry();
  seed(registry, "a/b", "v1", image);
});
afterEach(() => registry.close());

const manifest = async (method: "GET" | "HEAD" = "GET", reference = "v1"): Promise<Answer> =>
  await call(method, `${registry.url}/v2/a/b/manifests/${reference}`, {
    headers: { accept: manifestAccept },
  });
const put = async (reference: string, body = image.manifest, repository = "a/b"): Promise<Answer> =>
  await call("PUT", `${registry.url}/v2/${repository}/manifests/${reference}`, {
    headers: { "content-type": image.descriptor.mediaType },
    body,
  });
const referrers = async (query = ""): Promise<Answer> =>
  await call("GET", `${registry.url}/v2/a/b/referrers/${image.descriptor.digest}${query}`);
const listed = ({ body }: Answer): readonly string[] =>
  (JSON.parse(body.toString()) as { manifests: readonly { digest: string }[] }).manifests.map(
    ({ digest }) => digest,
  );

test("a manifest put by sha512 is found by it, and named by sha256, as in distribution 2.8", async () => {
  const digest = digestOf(image.manifest, "sha512");
  for (const answer of [await put(digest), await manifest("HEAD", digest), await manifest("GET", digest)])
    expect(answer.headers["docker-content-digest"]).toBe(image.descriptor.digest);
  expect((await put(digestOf(Buffer.from("x"), "sha512"))).codes).toEqual(["DIGEST_INVALID"]);
});

describe("reading", () => {
  test("head-404 and get-404 strike one method each", async () => {
    const head = registry.fault("head-404");
    expect([(await manifest("HEAD")).status, (await manifest("GET")).status]).toEqual([404, 200]);
    head.remove();
    registry.fault("get-404");
    expect([(await manifest("HEAD")).status, (await manifest("GET")).status]).toEqual([200, 404]);
  });

  test("content-type gives another one, other-document another document", async () => {
    registry.fault("content-type", { type: "application/json" });
    expect((await manifest()).headers["content-type"]).toBe("application/json");
    registry.fault("other-document");
    const page = await manifest();
    expect([page.status, page.body.toString()]).toEqual([200, expect.stringContaining("Sign in")]);
  });

  test("endless-manifest never ends", async () => {
    registry.fault("endless-manifest");
    const response = await fetch(`${registry.url}/v2/a/b/manifests/v1`);
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += (chunk as Uint8Array).byteLength;
      if (bytes > 20_000_000) break;
    }
    expect(bytes).toBeGreaterThan(20_000_000);
  });
});

describe("writing", () => {
  test("phantom-blobs has everything until a manifest needs it", async () => {
    registry.fault("phantom-blobs");
    const base = `${registry.url}/v2/c/blobs`;
    expect((await call("HEAD", `${base}/${missing}`)).status).toBe(200);
    expect((await call("POST", `${base}/uploads/?mount=${missing}&from=a/b`, { body: "" })).status).toBe(201);
    expect((await call("POST", `${base}/uploads/`, { body: "" })).status).toBe(202);
    const refused = await put("v1", image.manifest, "c");
    expect(refused.codes).toContain("MANIFEST_BLOB_UNKNOWN");
    expect(refused.body.toString()).toContain(image.config.descriptor.digest);
    registry.fault("nameless-errors");
    expect((await put("v1", image.manifest, "c")).body.toString()).not.toContain("sha256:");
  });

  test("unnamed-parts refuses what is whole", async () => {
    registry.fault("unnamed-parts", { code: "MANIFEST_UNKNOWN", times: 1 });
    expect((await put("v2")).codes).toEqual(["MANIFEST_UNKNOWN"]);
    expect((await put("v2")).status).toBe(201);
  });

  test("silent-put stores, and does not say what", async () => {
    registry.fault("silent-put", { status: 200 });
    const answer = await put("v2");
    expect([answer.status, answer.headers["docker-content-digest"]]).toEqual([200, undefined]);
    expect(registry.tags("a/b")).toContain("v2");
  });
});

describe("referrers", () => {
  beforeEach(() => {
    for (const content of [one, two]) seed(registry, "a/b", undefined, content);
  });
  const digests = [one, two].map(({ descriptor }) => descriptor.digest);

  test("distribution has no API for them", async () => {
    const answer = await referrers();
    expect([answer.status, answer.headers["content-type"]]).toEqual([
      404,
      expect.stringContaining("text/plain"),
    ]);
    expect((await put("v2", one.manifest)).headers["oci-subject"]).toBeUndefined();
  });

  test("referrers-api lists them, and tells of a subject", async () => {
    registry.fault("referrers-api");
    const answer = await referrers();
    expect(answer.headers["content-type"]).toBe(mediaTypes.ociIndex);
    expect(listed(answer)).toEqual(digests);
    expect((await put("v2", one.manifest)).headers["oci-subject"]).toBe(image.descriptor.digest);
    expect((await put("v3")).headers["oci-subject"]).toBeUndefined();
    const filtered = await referrers("?artifactType=a/two");
    expect(listed(filtered)).toEqual(digests.slice(1));
    expect(filtered.headers["oci-filters-applied"]).toBe("artifactType");
  });

  test("it does so in pages, and without a filter, where that is wanted", async () => {
    registry.fault("referrers-api", { pageSize: 1, filters: false });
    const first = await referrers("?artifactType=a/two");
    expect(listed(first)).toEqual(digests.slice(0, 1));
    expect(first.headers["oci-filters-applied"]).toBeUndefined();
    const [, next = ""] = /<([^>]+)>; rel="next"/.exec(String(first.headers["link"])) ?? [];
    const second = await call("GET", new URL(next, registry.url).href);
    expect(listed(second)).toEqual(digests.slice(1));
    expect(second.headers["link"]).toBeUndefined();
  });

  test("lost-referrers keeps another client's index", async () => {
    const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
    registry.fault("lost-referrers", { bytes, times: 1 });
    const tag = `sha256-${image.descriptor.digest.slice(7)}`;
    expect((await put(tag)).status).toBe(201);
    expect(registry.manifest("a/b", tag)?.bytes).toEqual(bytes);
    await put(tag);
    expect(registry.manifest("a/b", tag)?.bytes).toEqual(image.manifest);
  });
});
