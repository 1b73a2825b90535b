/** Rows 28 and 29 of the fault list: manifests with a subject, and how they are found from it. */
import { describe, expect, test } from "vitest";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { listReferrers, type ReferrersOptions } from "../../src/registry/referrers.ts";
import { referrersTag } from "../../src/registry/referrers-tag.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { blobSource, failureOf } from "../registry-client/support.ts";
import { makeArtifact, makeImage, seed, type TestImage } from "../support/images.ts";
import { type Connect, surviving } from "./support.ts";

const image = await makeImage();
const subject = image.descriptor;
const tag = `sha256-${subject.digest.slice("sha256:".length)}`;

const artifact = (name: string, artifactType?: string): TestImage =>
  makeArtifact({
    configType: artifactType === undefined ? `application/vnd.example.${name}` : mediaTypes.ociEmpty,
    config: "{}",
    files: [{ mediaType: "text/plain", bytes: Buffer.from(name) }],
    subject,
    ...(artifactType === undefined ? {} : { artifactType }),
  });
const signature = artifact("signature", "application/vnd.example.signature");
const sbom = artifact("sbom");

/** The blobs of artifacts, and the image that they are about. */
function prepared(registry: TestRegistry, ...artifacts: readonly TestImage[]): void {
  seed(registry, "a", "v1", image);
  for (const { config, layers } of artifacts)
    for (const blob of [config, ...layers]) registry.putBlob("a", blob.bytes);
}

const push = async (connect: Connect, registry: TestRegistry, ...artifacts: readonly TestImage[]) => {
  const watched = connect(registry, { plainHttp: true });
  const repository = watched.repository("a");
  await Promise.all(
    artifacts.map(async ({ manifest, descriptor }) =>
      repository.push(blobSource(manifest, { descriptor, isManifest: true })),
    ),
  );
  return watched;
};

interface Entry {
  readonly digest: string;
  readonly artifactType?: string;
  readonly annotations?: object;
}

const entriesOf = (registry: TestRegistry): readonly Entry[] => {
  const stored = registry.manifest("a", tag);
  return stored === undefined
    ? []
    : (JSON.parse(stored.bytes.toString()) as { manifests: readonly Entry[] }).manifests;
};
const indexOf = (...images: readonly TestImage[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: images.map(({ descriptor }) => descriptor),
      annotations: { kept: "yes" },
    }),
  );

describe("row 28", () => {
  test("row 28: without OCI-Subject the client makes the tag: type, annotations, each once", async () => {
    await using registry = await startRegistry();
    const annotated = await makeImage({ subject, annotations: { "org.example": "x" }, seed: "annotated" });
    prepared(registry, signature, sbom, annotated);
    await surviving({ registries: [registry] }, async (connect) => {
      await push(connect, registry, signature, sbom, annotated);
      await push(connect, registry, signature);
    });
    const entries = entriesOf(registry);
    expect(entries).toHaveLength(3);
    expect(new Map(entries.map(({ digest, artifactType }) => [digest, artifactType]))).toEqual(
      new Map([
        [signature.descriptor.digest, "application/vnd.example.signature"],
        [sbom.descriptor.digest, "application/vnd.example.sbom"],
        [annotated.descriptor.digest, mediaTypes.ociConfig],
      ]),
    );
    expect(entries.flatMap(({ annotations = [] }) => annotations)).toEqual([{ "org.example": "x" }]);
  });

  test("row 28: with OCI-Subject there is nothing to do; with that of another subject there is", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature, sbom);
    registry.fault("referrers-api");
    await surviving({ registries: [registry] }, async (connect) => await push(connect, registry, signature));
    expect(registry.tags("a")).toEqual(["v1"]);
    registry.clearFaults();
    registry.customFault("wrong subject", {
      methods: ["PUT"],
      path: /manifests\/sha256:/,
      transform: (reply) => ({
        ...reply,
        headers: { ...reply.headers, "oci-subject": sbom.descriptor.digest },
      }),
    });
    await surviving({ registries: [registry] }, async (connect) => await push(connect, registry, sbom));
    expect(entriesOf(registry).map(({ digest }) => digest)).toEqual([sbom.descriptor.digest]);
  });

  test("row 28: what is there stays, whoever wrote it", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature, sbom);
    registry.putManifest("a", undefined, signature.manifest, signature.descriptor.mediaType);
    registry.putManifest("a", tag, indexOf(signature), mediaTypes.ociIndex);
    await surviving({ registries: [registry] }, async (connect) => await push(connect, registry, sbom));
    expect(entriesOf(registry).map(({ digest }) => digest)).toEqual([
      signature.descriptor.digest,
      sbom.descriptor.digest,
    ]);
    expect(registry.manifest("a", tag)?.bytes.toString()).toContain('"kept":"yes"');
  });

  test("row 28: entries whose manifests are gone do not keep ours out", async () => {
    await using registry = await startRegistry();
    prepared(registry, sbom);
    registry.putManifest("a", tag, indexOf(signature), mediaTypes.ociIndex);
    await surviving({ registries: [registry] }, async (connect) => await push(connect, registry, sbom));
    expect(entriesOf(registry).map(({ digest }) => digest)).toEqual([sbom.descriptor.digest]);
  });

  test("row 28: a tag that holds no index is told of, and left alone", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature);
    registry.putManifest("a", tag, image.manifest, image.descriptor.mediaType);
    const warnings = await surviving({ registries: [registry] }, async (connect) => {
      return (await push(connect, registry, signature)).warnings;
    });
    expect(warnings.join("\n")).toContain(`the tag holds something else than an index`);
    expect(registry.manifest("a", tag)?.bytes).toEqual(image.manifest);
    expect(registry.manifest("a", signature.descriptor.digest)).toBeDefined();
  });

  test("row 28: what another client wrote at the same time is merged", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature, sbom);
    registry.putManifest("a", undefined, sbom.manifest, sbom.descriptor.mediaType);
    registry.fault("lost-referrers", { bytes: indexOf(sbom), times: 2 });
    await surviving({ registries: [registry] }, async (connect) => await push(connect, registry, signature));
    expect(entriesOf(registry).map(({ digest }) => digest)).toEqual([
      sbom.descriptor.digest,
      signature.descriptor.digest,
    ]);
  });

  test("row 28: a tag that is overwritten for ever ends in an error, not in a loop", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature);
    registry.fault("lost-referrers", { bytes: indexOf(sbom) });
    const error = await surviving(
      {
        registries: [registry],
        again: async (connect) => {
          registry.putManifest("a", undefined, sbom.manifest, sbom.descriptor.mediaType);
          await push(connect, registry, signature);
        },
      },
      async (connect) => await failureOf(push(connect, registry, signature)),
    );
    expect(error).toMatchObject({ code: "REGISTRY", message: expect.stringContaining("again and again") });
    expect(registry.count("PUT", new RegExp(tag))).toBeLessThan(10);
  });

  test("row 28: a tag that nobody may write is told of; one that cannot be written now fails", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature);
    const match = { method: "PUT", path: new RegExp(`manifests/${tag}`) };
    registry.fault("status", { status: 409, match });
    const warnings = await surviving({ registries: [registry] }, async (connect) => {
      return (await push(connect, registry, signature)).warnings;
    });
    expect(warnings.join("\n")).toContain("Cannot record that");
    registry.clearFaults();
    registry.fault("status", { status: 500, match });
    const error = await surviving(
      { registries: [registry] },
      async (connect) => await failureOf(push(connect, registry, signature)),
    );
    expect(error.message).toContain(tag);
  });

  test("row 28: a tagged manifest is recorded before it gets its tag", async () => {
    await using registry = await startRegistry();
    prepared(registry, signature);
    registry.fault("status", { status: 500, match: { method: "PUT", path: new RegExp(tag) } });
    const { manifest, descriptor } = signature;
    const tagIt = async (connect: Connect): Promise<void> => {
      const repository = connect(registry, { plainHttp: true }).repository("a");
      await repository.tag(blobSource(manifest, { descriptor, isManifest: true }), "signed");
    };
    await surviving(
      { registries: [registry], again: tagIt },
      async (connect) =>
        await failureOf(tagIt(connect)).then(() => expect(registry.tags("a")).toEqual(["v1"])),
    );
    expect(entriesOf(registry)).toHaveLength(1);
    expect(registry.tags("a")).toContain("signed");
  });

  test("row 28: the tag is the digest, cut so that it is one", () => {
    expect(referrersTag(subject.digest)).toBe(tag);
    const long = digestOf(image.manifest, "sha512");
    expect(referrersTag(long)).toBe(`sha512-${long.slice(7, 71)}`);
  });
});

describe("row 29", () => {
  const type = "application/vnd.example.signature";
  const list = async (
    prepare: (registry: TestRegistry) => void,
    options: ReferrersOptions = {},
    about: Digest = subject.digest,
  ) => {
    await using registry = await startRegistry();
    seed(registry, "a", "v1", image);
    for (const content of [signature, sbom]) seed(registry, "a", undefined, content);
    prepare(registry);
    return await surviving({ registries: [registry] }, async (connect) => {
      const { client } = connect(registry, { plainHttp: true });
      const found = await listReferrers({ client, repository: "a" }, about, options);
      return found.map(({ descriptor, artifactType, tag: by }) => [descriptor.digest, by ?? artifactType]);
    });
  };
  const both = [
    [signature.descriptor.digest, type],
    [sbom.descriptor.digest, "application/vnd.example.sbom"],
  ];

  test("row 29: pages are followed by Link", async () => {
    expect(await list((registry) => registry.fault("referrers-api", { pageSize: 1 }))).toEqual(both);
  });

  test.each([true, false])("row 29: one type is chosen by the registry or here: %s", async (filters) => {
    const found = await list((registry) => registry.fault("referrers-api", { filters }), {
      artifactType: type,
    });
    expect(found).toEqual([both[0]]);
  });

  const tagged = (registry: TestRegistry): void => {
    const manifests = [signature, sbom].map(({ descriptor }, at) => ({
      ...descriptor,
      artifactType: both[at]?.[1],
    }));
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }),
    );
    registry.putManifest("a", tag, bytes, mediaTypes.ociIndex);
  };

  test.each([
    [200, "<html>Sign in</html>"],
    [200, '{"hello":"world"}'],
    [200, ""],
    [400, ""],
    [403, ""],
    [404, "404 page not found"],
    [405, ""],
    [406, ""],
    [501, ""],
  ])("row 29: %i %s is a registry without the API: the tag is read", async (status, body) => {
    const prepare = (registry: TestRegistry): void => {
      registry.fault("status", { status, body, match: { path: /\/referrers\// } });
      tagged(registry);
    };
    expect(await list(prepare)).toEqual(both);
    expect(await list(prepare, { artifactType: type })).toEqual([both[0]]);
  });

  test("row 29: 404 NAME_UNKNOWN is a repository that is not there", async () => {
    const body = JSON.stringify({ errors: [{ code: "NAME_UNKNOWN" }] });
    const failed = list((registry) =>
      registry.fault("status", { status: 404, body, match: { path: /\/referrers\// } }),
    );
    expect(await failureOf(failed)).toMatchObject({ code: "NOT_FOUND" });
  });

  test("row 29: what the API and the tag know is one list, each once", async () => {
    const old = artifact("old", "application/vnd.example.old");
    const found = await list((registry) => {
      registry.fault("referrers-api");
      registry.putManifest("a", tag, indexOf(signature, old), mediaTypes.ociIndex);
    });
    expect(found.map(([digest]) => digest)).toEqual([
      ...both.map(([digest]) => digest),
      old.descriptor.digest,
    ]);
  });

  test("row 29: pages that lead in a circle, or to another host, are not followed for ever", async () => {
    for (const link of ["?at=0", "https://example.com/v2/a/referrers/x"]) {
      const failed = list((registry) => {
        registry.fault("referrers-api");
        registry.customFault("link", {
          path: /\/referrers\//,
          transform: (reply) => ({ ...reply, headers: { ...reply.headers, link: `<${link}>; rel="next"` } }),
        });
      });
      expect((await failureOf(failed)).code).toBe("REGISTRY");
    }
  });

  test("cosign's own tags are found too", async () => {
    const found = await list((registry) => {
      registry.putManifest("a", `${tag}.sig`, signature.manifest, signature.descriptor.mediaType);
      registry.putManifest("a", `${tag}.att`, sbom.manifest, sbom.descriptor.mediaType);
    });
    expect(found).toEqual([
      [signature.descriptor.digest, `${tag}.sig`],
      [sbom.descriptor.digest, `${tag}.att`],
    ]);
  });

  test("a digest of sha512 has no such tags", async () => {
    expect(await list(() => undefined, {}, digestOf(image.manifest, "sha512"))).toEqual([]);
  });
});
