import { describe, expect, test } from "vitest";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import type { Reply } from "../registry/http.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { descriptorOf, failureOf, type Watched } from "./support.ts";

const image = await makeImage();
const docker = await makeImage({ mediaTypes: "docker", seed: "docker" });
const index = makeIndex([image, await makeImage({ platform: "linux/arm64" })]);
const missing = digestOf(Buffer.from("missing"));

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
eachTest(
  async () => await startConnected("a/b"),
  (made) => {
    ({ registry, watched, repository } = made);
    seed(registry, "a/b", "v1", image);
    seed(registry, "a/b", "docker", docker);
    seed(registry, "a/b", "all", index);
  },
);

const bare = ({ mediaType, digest, size }: Descriptor): Descriptor => ({ mediaType, digest, size });

/** Answers every GET of a manifest with these bytes. */
function serve(bytes: Buffer, headers: Record<string, string>, cutAfter?: number): void {
  registry.customFault("other manifest", {
    methods: ["GET", "HEAD"],
    path: /\/manifests\//,
    intercept: (): Reply => ({
      status: 200,
      headers,
      body: [bytes],
      ...(cutAfter === undefined ? {} : { cutAfter }),
    }),
  });
}

describe("resolving", () => {
  test.each([
    ["v1", image.descriptor],
    ["docker", docker.descriptor],
    ["all", index.descriptor],
    [image.descriptor.digest, image.descriptor],
  ])("%s costs one HEAD", async (reference, descriptor) => {
    expect(await repository.resolve(reference)).toEqual(bare(descriptor));
    expect(registry.count("HEAD", /manifests/)).toBe(1);
    expect(registry.count("GET", /manifests/)).toBe(0);
  });

  test("every type is named in one header line, without weights", async () => {
    await repository.resolve("v1");
    const accept = registry.requests.at(-1)?.headers.accept ?? "";
    for (const type of [
      mediaTypes.ociIndex,
      mediaTypes.ociManifest,
      mediaTypes.dockerList,
      mediaTypes.dockerManifest,
    ]) {
      expect(accept).toContain(type);
    }
    expect(accept).not.toContain("q=");
    expect(accept.indexOf(mediaTypes.ociIndex)).toBeLessThan(accept.indexOf(mediaTypes.ociManifest));
  });

  test.each(["head-405", "no-digest-header"] as const)(
    "falls back to GET where HEAD is not enough: %s",
    async (fault) => {
      registry.fault(fault);
      expect(await repository.resolve("v1")).toEqual(bare(image.descriptor));
      expect(registry.count("GET", /manifests/)).toBe(1);
    },
  );

  test.each([
    ["a type that is none", { "content-type": "text/plain" }],
    ["a digest that is none", { "docker-content-digest": "sha256:ABC" }],
    ["no type", { "content-type": "" }],
  ])("falls back to GET for %s", async (_name, headers) => {
    registry.customFault("odd HEAD", {
      methods: ["HEAD"],
      path: /manifests/,
      transform: (reply) => ({ ...reply, headers: { ...reply.headers, ...headers } }),
    });
    expect(await repository.resolve("v1")).toEqual(bare(image.descriptor));
  });

  test("what is not there is told apart from what failed", async () => {
    for (const reference of ["nope", missing]) {
      const error = await failureOf(repository.resolve(reference));
      expect(error.code).toBe("NOT_FOUND");
      expect(error.message).toContain(registry.host);
      expect(error.hint).toContain("mirror ls");
      expect((await failureOf(repository.manifest(reference))).code).toBe("NOT_FOUND");
    }
    expect((await failureOf(watched.repository("no/such").resolve("v1"))).code).toBe("NOT_FOUND");
  });
});

describe("reading", () => {
  test("gives the bytes as they came", async () => {
    for (const [reference, content] of [
      ["v1", image],
      [index.descriptor.digest, index],
      ["docker", docker],
    ] as const) {
      const read = await repository.manifest(reference);
      expect(Buffer.from(read.bytes)).toEqual(content.manifest);
      expect(read.descriptor).toEqual(bare(content.descriptor));
    }
  });

  test("by digest, other content is refused with both digests", async () => {
    registry.fault("corrupt-manifest");
    const error = await failureOf(repository.manifest(image.descriptor.digest));
    expect(error.code).toBe("INTEGRITY");
    expect(error.exitCode).toBe(4);
    expect(error.message).toContain(image.descriptor.digest);
    expect(error.message.match(/sha256:[0-9a-f]{64}/g)).toHaveLength(2);
  });

  test.each([missing, digestOf(image.manifest, "sha512"), "nonsense"])(
    "by tag, the computed digest counts and not the header: %.20s",
    async (digest) => {
      registry.fault("wrong-digest-header", { digest });
      expect((await repository.manifest("v1")).descriptor.digest).toBe(image.descriptor.digest);
    },
  );

  test("by sha512 it is verified with sha512", async () => {
    const digest = digestOf(image.manifest, "sha512");
    serve(image.manifest, { "content-type": image.descriptor.mediaType });
    expect((await repository.manifest(digest)).descriptor.digest).toBe(digest);
    expect((await failureOf(repository.manifest(digestOf(docker.manifest, "sha512")))).code).toBe(
      "INTEGRITY",
    );
  });

  test.each([
    `${mediaTypes.ociManifest}; charset=utf-8`,
    mediaTypes.ociManifest.toUpperCase(),
    "application/json",
    "text/plain",
    mediaTypes.dockerManifest,
    "",
  ])("the document says what it is, whatever Content-Type says: %s", async (type) => {
    serve(image.manifest, { "content-type": type });
    expect((await repository.manifest("v1")).descriptor.mediaType).toBe(mediaTypes.ociManifest);
  });

  test("a document that does not say it is told by its parent, or by its shape", async () => {
    const { mediaType: _type, ...rest } = JSON.parse(image.manifest.toString()) as Record<string, unknown>;
    const bytes = Buffer.from(JSON.stringify(rest));
    serve(bytes, { "content-type": "application/octet-stream" });
    const typed = await repository.manifest("v1", { mediaType: mediaTypes.dockerManifest });
    expect(typed.descriptor.mediaType).toBe(mediaTypes.dockerManifest);
    expect((await repository.manifest("v1")).descriptor.mediaType).toBe(mediaTypes.ociManifest);
  });

  test.each([
    ["a login page", "<html>log in</html>"],
    ["nothing", ""],
    ["half a document", '{"schemaVersion":2,'],
    ["a list", "[]"],
    ["index and image at once", '{"manifests":[],"layers":[],"config":{}}'],
    ["a bottomless one", `${"[".repeat(100_000)}`],
  ])("%s is no manifest", async (_name, text) => {
    serve(Buffer.from(text), { "content-type": mediaTypes.ociManifest });
    const error = await failureOf(repository.manifest("v1"));
    expect(error.code).toBe("INTEGRITY");
    expect(error.message.length).toBeLessThan(500);
  });

  test("one over 8 MiB is cut off", async () => {
    serve(Buffer.alloc(9 * 1024 * 1024, " "), { "content-type": mediaTypes.ociManifest });
    const error = await failureOf(repository.manifest("v1"));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain(`${8 * 1024 * 1024} bytes`);
  });

  test("one of 5 MiB is read", async () => {
    const padded = Buffer.from(
      JSON.stringify({ ...JSON.parse(image.manifest.toString()), pad: "x".repeat(5e6) }),
    );
    serve(padded, { "content-type": mediaTypes.ociManifest });
    expect((await repository.manifest("v1")).descriptor).toEqual(
      descriptorOf(padded, mediaTypes.ociManifest),
    );
  });

  test("is tried again when the connection breaks in the middle", async () => {
    registry.customFault(
      "cut",
      { methods: ["GET"], path: /manifests/, transform: (reply) => ({ ...reply, cutAfter: 100 }) },
      { times: 2 },
    );
    expect((await repository.manifest("v1")).descriptor).toEqual(bare(image.descriptor));
    expect(watched.retries).toHaveLength(2);
  });

  test("fails when it breaks every time", async () => {
    registry.customFault("cut", {
      methods: ["GET"],
      path: /manifests/,
      transform: (reply) => ({ ...reply, cutAfter: 100 }),
    });
    const error = await failureOf(repository.manifest("v1"));
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain("a/b:v1");
  });
});
