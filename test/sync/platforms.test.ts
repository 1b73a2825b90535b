/** The choice of platforms: by the function, and by what arrives at a target. */
import { describe, expect, test } from "vitest";
import { parseManifest } from "../../src/oci/manifest.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { choosePlatforms } from "../../src/sync/platforms.ts";
import { startRegistry } from "../registry/registry.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeArtifact, makeImage, makeIndex, seed, type TestIndex } from "../support/images.ts";
import { copyTo, type Run, wanted } from "../support/pipeline.ts";

async function indexOf(platforms: readonly string[], attestations = false): Promise<TestIndex> {
  const images = await Promise.all(platforms.map((platform) => makeImage({ platform, seed: platform })));
  return makeIndex(images, { attestations });
}

function choose(index: TestIndex, platforms: readonly string[]) {
  const parsed = parseManifest(index.manifest, index.descriptor.mediaType, "index");
  if (parsed.kind !== "index") throw new Error("not an index");
  const raw = { bytes: index.manifest, descriptor: index.descriptor };
  return choosePlatforms(raw, parsed, platforms.map(parsePlatform), "team/app:1.0");
}

/** Children of the index that a choice wrote, by digest. */
function childrenOf(choice: ReturnType<typeof choose>): readonly string[] {
  if (choice.kind !== "rewritten") throw new Error(`the choice is ${choice.kind}`);
  const { bytes, descriptor } = choice.index;
  const parsed = parseManifest(bytes, descriptor.mediaType, "rewritten");
  return parsed.kind === "index" ? parsed.manifests.map(({ digest }) => digest) : [];
}

describe("of an index", () => {
  test("no wish takes all of it", async () => {
    expect(choose(await indexOf(["linux/amd64", "linux/arm64"]), [])).toEqual({ kind: "whole", missing: [] });
  });

  test("one platform is its child", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64"]);
    expect(choose(index, ["linux/arm64"])).toMatchObject({
      kind: "child",
      child: { digest: index.children[1]?.descriptor.digest },
      missing: [],
    });
  });

  test("several are a new index of these, with their attestations and all other fields", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64", "linux/s390x"], true);
    const [amd64, , s390x, amd64Proof, , s390xProof] = index.children.map(
      ({ descriptor }) => descriptor.digest,
    );
    const choice = choose(index, ["linux/amd64", "linux/s390x"]);
    expect(childrenOf(choice)).toEqual([amd64, s390x, amd64Proof, s390xProof]);
    if (choice.kind !== "rewritten") throw new Error("unreachable");
    const { manifests: _, ...rest } = JSON.parse(index.manifest.toString()) as { manifests: unknown };
    const { manifests: __, ...written } = JSON.parse(Buffer.from(choice.index.bytes).toString()) as {
      manifests: unknown;
    };
    expect(written).toEqual(rest);
    expect(choose(index, ["linux/amd64", "linux/s390x"])).toEqual(choice);
  });

  test("one platform is its child where it has an attestation, too: there is no index left to hold it", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64"], true);
    expect(choose(index, ["linux/amd64"])).toMatchObject({
      kind: "child",
      child: { digest: index.children[0]?.descriptor.digest },
    });
  });

  test("all that it has leaves it as it is, digest included", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64"], true);
    expect(choose(index, ["linux/amd64", "linux/arm64"])).toEqual({ kind: "whole", missing: [] });
  });

  test("what it does not have is told, what it has is taken", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64", "linux/ppc64le"]);
    expect(choose(index, ["linux/amd64", "linux/riscv64"])).toMatchObject({
      missing: [{ os: "linux", architecture: "riscv64" }],
    });
  });

  test("none of what it has is an error that says what there is", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm/v7"], true);
    expect(() => choose(index, ["windows/amd64", "linux/s390x"])).toThrow(
      expect.objectContaining({
        code: "NOT_FOUND",
        message: "Cannot take windows/amd64, linux/s390x of team/app:1.0: it has linux/amd64, linux/arm/v7",
        hint: expect.stringContaining("every platform"),
      }),
    );
  });
});

describe("through a sync", () => {
  async function synced(
    content: Parameters<typeof seed>[3],
    platforms: readonly string[],
  ): Promise<{ run: Run; digest: string | undefined; incomplete: readonly string[] }> {
    await using source = await startRegistry();
    await using target = await startRegistry();
    seed(source, "team/app", "1.0", content);
    const run = await copyTo(target, [wanted(source, "team/app:1.0", { platforms })]);
    return {
      run,
      digest: target.manifest("team/app", "1.0")?.digest,
      incomplete: incompleteTags(target),
    };
  }

  test("one platform arrives as the child, and the result keeps the digest of the index", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64"]);
    const { run, digest, incomplete } = await synced(index, ["linux/amd64"]);
    expect(digest).toBe(index.children[0]?.descriptor.digest);
    expect(run.plan.images[0]).toMatchObject({
      original: index.descriptor.digest,
      platforms: ["linux/amd64"],
    });
    expect(incomplete).toEqual([]);
  });

  test("several arrive as a complete new index", async () => {
    const index = await indexOf(["linux/amd64", "linux/arm64", "linux/s390x"], true);
    const { run, digest, incomplete } = await synced(index, ["linux/amd64", "linux/arm64"]);
    expect(digest).toBe(run.plan.images[0]?.root.digest);
    expect(digest).not.toBe(index.descriptor.digest);
    expect(incomplete).toEqual([]);
  });

  test("a missing platform warns once, with the image and the platform", async () => {
    const { run, incomplete } = await synced(await indexOf(["linux/amd64", "linux/arm64"]), [
      "linux/amd64",
      "linux/s390x",
    ]);
    const warnings = run.events.flatMap((event) => (event.type === "warning" ? event.message : []));
    expect(warnings).toEqual([expect.stringMatching(/team\/app:1\.0 is not available for linux\/s390x$/)]);
    expect(incomplete).toEqual([]);
  });

  test("none of them fails the image, also one without an index", async () => {
    const index = await synced(await indexOf(["linux/amd64"]), ["linux/s390x"]);
    expect(index.run.failures[0]?.error).toMatchObject({ code: "NOT_FOUND" });
    const single = await synced(await makeImage({ platform: "linux/arm64" }), ["linux/s390x"]);
    expect(single.run.failures[0]?.error).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/it has linux\/arm64$/),
    });
    expect([index.digest, single.digest]).toEqual([undefined, undefined]);
  });

  test("an artifact without platforms is taken whatever is wanted", async () => {
    const chart = makeArtifact({
      configType: "application/vnd.cncf.helm.config.v1+json",
      config: "{}",
      files: [{ mediaType: "application/octet-stream", bytes: Buffer.from("chart") }],
    });
    const { digest, incomplete } = await synced(chart, ["linux/amd64"]);
    expect([digest, incomplete]).toEqual([chart.descriptor.digest, []]);
  });
});
