/** Rows 26 and 27 of the fault list: registries that refuse or alter what they get. */
import { describe, expect, test } from "vitest";
import { MissingParts } from "../../src/content/missing-parts.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { FaultName } from "../registry/faults.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { blobSource, descriptorOf, failureOf } from "../registry-client/support.ts";
import { incompleteTags } from "../support/graph.ts";
import {
  makeArtifact,
  makeImage,
  makeIndex,
  seed,
  type TestImage,
  type TestIndex,
} from "../support/images.ts";
import { errorOf, type SyncRun, sync } from "./copying.ts";
import { surviving } from "./support.ts";

const image = await makeImage();
const index = makeIndex([image, await makeImage({ platform: "linux/arm64" })]);

/** Syncs `team/app:1.0` into a target that misbehaves as `prepare` says. */
async function synced(
  content: TestImage | TestIndex,
  prepare: (to: TestRegistry, from: TestRegistry) => void,
): Promise<{ readonly run: SyncRun; readonly to: TestRegistry }> {
  await using from = await startRegistry();
  await using to = await startRegistry();
  seed(from, "team/app", "1.0", content);
  prepare(to, from);
  const registries = [from, to];
  const run = await surviving(
    {
      registries,
      again: async (connect) => expect(errorOf(await sync(connect, { from, to }))).toBeUndefined(),
    },
    async (connect) => await sync(connect, { from, to }),
  );
  return { run, to };
}

const uploads = (to: TestRegistry): number => to.count("PUT", /\/blobs\/uploads\//);
const tries = (to: TestRegistry): number => to.count("PUT", /manifests\/1\.0$/);

describe("row 26", () => {
  test("row 26: blobs that a registry said it had are sent for real, once, and the manifest again", async () => {
    const { run, to } = await synced(image, (target) => target.fault("phantom-blobs"));
    expect(errorOf(run)).toBeUndefined();
    expect(incompleteTags(to)).toEqual([]);
    expect(uploads(to)).toBe(2);
    expect(tries(to)).toBe(2);
    expect(run.events).toContainEqual(
      expect.objectContaining({ type: "retrying", cause: expect.any(MissingParts) }),
    );
  });

  test("row 26: also where the refusal names none of them: HEAD is asked, and then not believed", async () => {
    const { run, to } = await synced(image, (target) => {
      target.fault("phantom-blobs");
      target.fault("nameless-errors");
    });
    expect(errorOf(run)).toBeUndefined();
    expect(incompleteTags(to)).toEqual([]);
    expect(uploads(to)).toBe(2);
    expect(tries(to)).toBe(3);
  });

  test("row 26: only what is missing is sent again", async () => {
    const { run, to } = await synced(image, (target, from) => {
      target.putBlob("team/app", image.config.bytes);
      target.fault("phantom-blobs");
      expect(from.blob("team/app", image.config.descriptor.digest)).toBeDefined();
    });
    expect(errorOf(run)).toBeUndefined();
    expect(uploads(to)).toBe(1);
  });

  test("row 26: a registry that is slow to see what it has got gets a second try, and no byte twice", async () => {
    const { run, to } = await synced(image, (target) => target.fault("unnamed-parts", { times: 1 }));
    expect(errorOf(run)).toBeUndefined();
    expect(uploads(to)).toBe(2);
    expect(tries(to)).toBe(2);
  });

  test("row 26: children of an index that are gone are put again", async () => {
    const { run, to } = await synced(index, (target) => {
      target.customFault(
        "forgets a child",
        {
          methods: ["PUT"],
          path: /manifests\/1\.0$/,
          intercept: () => {
            target.deleteManifest("team/app", image.descriptor.digest);
            return "altered";
          },
        },
        { times: 1 },
      );
    });
    expect(errorOf(run)).toBeUndefined();
    expect(incompleteTags(to)).toEqual([]);
    expect(to.count("PUT", new RegExp(`manifests/${image.descriptor.digest}`))).toBe(2);
  });

  test.each(["MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"] as const)(
    "row 26: a registry that says %s for ever ends the image, with its words",
    async (code) => {
      const { run, to } = await synced(image, (target) => target.fault("unnamed-parts", { code }));
      expect(errorOf(run)).toMatchObject({ message: expect.stringContaining(code) });
      expect(to.count("PUT", /manifests/)).toBeLessThan(6);
    },
  );
});

describe("row 27", () => {
  test.each([[[]], [["silent-put"]], [["silent-put", "head-405"]]] as const)(
    "row 27: a registry that alters a manifest is found out: %s",
    async (more) => {
      const { run } = await synced(image, (target) => {
        for (const name of ["altering-registry", ...more] as FaultName[])
          target.fault(name, { match: { path: /manifests/ } });
      });
      expect(errorOf(run)).toMatchObject({
        code: "INTEGRITY",
        side: "target",
        message: expect.stringContaining("the registry altered the manifest"),
      });
    },
  );

  test.each([200, 201, 202, 204])(
    "row 27: an answer of %i without a digest is proved by HEAD",
    async (status) => {
      const { run, to } = await synced(image, (target) => target.fault("silent-put", { status }));
      expect(errorOf(run)).toBeUndefined();
      const asked = to.requests
        .filter(({ path }) => path.endsWith("/manifests/1.0"))
        .map(({ method }) => method);
      // The last one is that of the run after it.
      expect(asked).toEqual(["HEAD", "PUT", "HEAD", "HEAD"]);
    },
  );

  test("row 27: an answer without a manifest behind it is no success", async () => {
    const { run } = await synced(image, (target) =>
      target.fault("status", { status: 202, match: { method: "PUT", path: /manifests/ } }),
    );
    expect(errorOf(run)).toMatchObject({ message: expect.stringContaining("took it, and does not have it") });
  });
});

test("a manifest by sha512 is stored and proved, though the registry names it by sha256", async () => {
  await using registry = await startRegistry();
  seed(registry, "a", "v1", image);
  const digest = digestOf(image.manifest, "sha512");
  await surviving({ registries: [registry] }, async (connect) => {
    const repository = connect(registry, { plainHttp: true }).repository("a");
    const descriptor = { ...image.descriptor, digest };
    await repository.push(blobSource(image.manifest, { descriptor, isManifest: true }));
    expect(await repository.has(descriptor)).toBe(true);
    expect((await repository.manifest(digest)).descriptor.digest).toBe(digest);
    registry.fault("corrupt-manifest");
    expect(await repository.has(descriptor)).toBe(false);
  });
});

test("foreign layers that a registry does not take are named as what they are", async () => {
  const layer = {
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    digest: digestOf(Buffer.from("foreign")),
    size: 7,
    urls: ["https://example.com/layer"],
  };
  await using from = await startRegistry();
  await using to = await startRegistry();
  seed(from, "team/app", "0", image);
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.dockerManifest,
    config: image.config.descriptor,
  };
  const bytes = Buffer.from(JSON.stringify({ ...document, layers: [layer] }));
  from.putManifest("team/app", "1.0", bytes, mediaTypes.dockerManifest);
  const run = await surviving(
    { registries: [from, to] },
    async (connect) => await sync(connect, { from, to }),
  );
  expect(errorOf(run)).toMatchObject({
    code: "REGISTRY",
    message: expect.stringContaining("takes no manifest whose layers have URLs"),
    hint: expect.stringContaining("validation.manifests.urls.allow"),
  });
  expect(to.count("PUT", /manifests/)).toBe(1);
  expect(run.warnings.join("\n")).toContain(`left out the layer ${layer.digest}`);
});

test("old artifact manifests that a registry does not take are named as what they are", async () => {
  await using registry = await startRegistry();
  const bytes = Buffer.from(JSON.stringify({ mediaType: mediaTypes.ociArtifact, blobs: [] }));
  const descriptor = descriptorOf(bytes, mediaTypes.ociArtifact);
  const error = await surviving({ registries: [registry] }, async (connect) => {
    const repository = connect(registry, { plainHttp: true }).repository("a");
    return await failureOf(repository.tag(blobSource(bytes, { descriptor, isManifest: true }), "v1"));
  });
  expect(error.message).toContain("takes no OCI artifact manifests");
});

test.each([
  ["prettyjws", mediaTypes.dockerSchema1Signed, { schemaVersion: 1, fsLayers: [] }],
  ["unsigned", mediaTypes.dockerSchema1, { schemaVersion: 1, fsLayers: [] }],
  ["text/plain", "text/plain; charset=utf-8", { schemaVersion: 1, fsLayers: [], signatures: [] }],
])("schema 1 as %s is refused, and nothing of it arrives", async (_name, type, document) => {
  const { run, to } = await synced(image, (_target, from) =>
    from.fault("other-document", { body: JSON.stringify(document), type }),
  );
  expect(errorOf(run)).toMatchObject({ code: "REGISTRY", message: expect.stringContaining("schema 1") });
  expect(to.requests.filter(({ method }) => method === "POST").length).toBeLessThan(3);
});

test("an artifact with the empty config arrives with its two bytes", async () => {
  const artifact = makeArtifact({
    configType: mediaTypes.ociEmpty,
    config: "{}",
    files: [{ mediaType: "text/spdx+json", bytes: Buffer.from("sbom") }],
    artifactType: "application/spdx+json",
  });
  const { run, to } = await synced(artifact, () => undefined);
  expect(errorOf(run)).toBeUndefined();
  expect(to.blob("team/app", artifact.config.descriptor.digest)?.toString()).toBe("{}");
});

test("a child of a type that is no manifest's is looked for as one, then copied as a blob", async () => {
  await using from = await startRegistry();
  await using to = await startRegistry();
  const odd = Buffer.from("no manifest at all");
  from.putBlob("team/app", odd);
  seed(from, "team/app", undefined, image);
  const manifests = [
    descriptorOf(odd, "application/vnd.example.odd"),
    { ...image.descriptor, mediaType: "application/vnd.example.image" },
  ];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }));
  from.putManifest("team/app", "1.0", bytes, mediaTypes.ociIndex);
  // distribution wants a manifest for every child.
  to.customFault("takes blobs as children", {
    methods: ["PUT"],
    path: /manifests\/1\.0$/,
    intercept: (_request, { content }) => {
      content.putManifest("team/app", "1.0", bytes, mediaTypes.ociIndex);
      return { status: 201, headers: { "docker-content-digest": digestOf(bytes) } };
    },
  });
  const run = await surviving(
    { registries: [from, to] },
    async (connect) => await sync(connect, { from, to }),
  );
  expect(errorOf(run)).toBeUndefined();
  expect(to.blob("team/app", digestOf(odd))).toEqual(odd);
  expect(to.manifest("team/app", image.descriptor.digest)?.mediaType).toBe(mediaTypes.ociManifest);
});
