import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, failureOf, type Watched } from "./support.ts";

const image = await makeImage();
const missing = digestOf(Buffer.from("missing"));

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
eachTest(
  async () => await startConnected("a/b"),
  (made) => {
    ({ registry, watched, repository } = made);
    seed(registry, "a/b", "v1", image);
  },
);

describe("asking whether it is there", () => {
  test("believes a digest only", async () => {
    expect(await repository.has(image.descriptor)).toBe(true);
    expect(await repository.has({ ...image.descriptor, digest: missing })).toBe(false);
    expect(await repository.has(image.config.descriptor)).toBe(true);
    expect(await repository.has({ ...image.config.descriptor, digest: missing })).toBe(false);
  });

  test.each(["head-405", "no-digest-header", "wrong-digest-header"] as const)(
    "a manifest that HEAD does not prove is proved by GET: %s",
    async (fault) => {
      registry.fault(fault);
      expect(await repository.has(image.descriptor)).toBe(true);
      registry.fault("corrupt-manifest");
      expect(await repository.has(image.descriptor)).toBe(false);
    },
  );

  test("an answer that is no answer is an error", async () => {
    registry.fault("status", { status: 403, match: { method: "HEAD" } });
    expect((await failureOf(repository.has(image.descriptor))).code).toBe("DENIED");
    expect((await failureOf(repository.has(image.config.descriptor))).code).toBe("DENIED");
  });
});

describe("writing", () => {
  const source = blobSource(image.manifest, {
    descriptor: image.descriptor,
    isManifest: true,
    pieceBytes: 100,
  });

  test("sends the same bytes with their type and length", async () => {
    await repository.push(source);
    await repository.tag(source, "v2");
    for (const reference of [image.descriptor.digest, "v2"]) {
      expect(registry.manifest("a/b", reference)?.bytes).toEqual(image.manifest);
    }
    const puts = registry.requests.filter(({ method }) => method === "PUT");
    expect(puts.map(({ path }) => path)).toEqual([
      `/v2/a/b/manifests/${image.descriptor.digest}`,
      "/v2/a/b/manifests/v2",
    ]);
    for (const { headers } of puts) {
      expect(headers["content-type"]).toBe(image.descriptor.mediaType);
      expect(headers["content-length"]).toBe(`${image.manifest.length}`);
      expect(headers["transfer-encoding"]).toBeUndefined();
    }
  });

  test("wrong content is never sent", async () => {
    const other = Buffer.from(image.manifest);
    other.writeUInt8(other.readUInt8(50) ^ 1, 50);
    const error = await failureOf(repository.tag(blobSource(other, { descriptor: image.descriptor }), "v2"));
    expect(error.code).toBe("INTEGRITY");
    expect(registry.count("PUT", /./)).toBe(0);
  });

  test("a registry that alters manifests is found out", async () => {
    registry.fault("altering-registry");
    const error = await failureOf(repository.tag(source, "v2"));
    expect(error.code).toBe("INTEGRITY");
    expect(error.side).toBe("target");
    expect(error.message).toContain("altered");
    expect(error.message).toContain(image.descriptor.digest);
  });

  test.each([200, 202, 204])("a %i counts as stored", async (status) => {
    registry.customFault("other status", {
      methods: ["PUT"],
      path: /manifests/,
      transform: (reply) => ({ ...reply, status }),
    });
    await repository.tag(source, "v2");
    expect(registry.tags("a/b")).toContain("v2");
  });

  test("a digest of another kind in the answer alters nothing", async () => {
    registry.fault("wrong-digest-header", { digest: digestOf(image.manifest, "sha512") });
    await repository.tag(source, "v2");
  });

  test("is tried again after a passing fault", async () => {
    registry.fault("status", { status: 502, times: 2, match: { method: "PUT" } });
    await repository.tag(source, "v2");
    expect(registry.tags("a/b")).toContain("v2");
    expect(watched.retries).toHaveLength(2);
  });

  test("a refusal says what the registry said", async () => {
    const error = await failureOf(watched.repository("empty").tag(source, "v1"));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("400");
    expect(error.message).toContain("MANIFEST_BLOB_UNKNOWN");
  });
});
