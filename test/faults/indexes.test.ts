/** Rows 22 to 25 of the fault list: indexes and descriptors that cannot be right. */
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { incompleteTags } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { errorOf, type SyncOptions, type SyncRun, sync } from "./copying.ts";
import { surviving } from "./support.ts";

const amd64 = await makeImage();
const arm64 = await makeImage({ platform: "linux/arm64" });

/** Puts a document into the source as `team/app:1.0`, with the images that it may lead to, and syncs it. */
async function synced(
  document: object | TestIndex,
  options: Partial<SyncOptions> & {
    readonly prepare?: (from: TestRegistry, to: TestRegistry) => void;
    readonly images?: readonly TestImage[];
  } = {},
): Promise<{ readonly run: SyncRun; readonly to: TestRegistry; readonly from: TestRegistry }> {
  await using from = await startRegistry();
  await using to = await startRegistry();
  for (const image of options.images ?? [amd64, arm64]) seed(from, "team/app", undefined, image);
  if ("kind" in document) seed(from, "team/app", "1.0", document);
  else {
    const { mediaType = mediaTypes.ociIndex } = document as { mediaType?: string };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...document }));
    from.putManifest("team/app", "1.0", bytes, mediaType);
  }
  options.prepare?.(from, to);
  const run = await surviving(
    { registries: [from, to] },
    async (connect) => await sync(connect, { from, to, ...options }),
  );
  if (errorOf(run) === undefined) expect(incompleteTags(to)).toEqual([]);
  else expect(to.tags("team/app")).toEqual([]);
  return { run, to, from };
}

describe("row 22", () => {
  const tiny = (at: number): object => ({
    mediaType: "a/b",
    digest: digestOf(Buffer.from(`${at}`)),
    size: 1,
  });

  test.each([
    ["100000 children are cut off with the document", 100_000, "REGISTRY", /over 8388608 bytes/],
    ["10001 children are refused", 10_001, "INTEGRITY", /at manifests: more than the 10000 entries/],
  ])("row 22: %s", async (_name, count, code, message) => {
    const { run, from } = await synced({ manifests: Array.from({ length: count }, (_, at) => tiny(at)) });
    expect(errorOf(run)).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(from.count("GET", /manifests/)).toBe(1);
  });

  test("row 22: an image of more than 10000 parts in all is refused", async () => {
    const layers = Array.from({ length: 6000 }, (_, at) => tiny(at));
    const more = Array.from({ length: 6000 }, (_, at) => tiny(10_000 + at));
    const manifests = [layers, more].map((list) =>
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociManifest,
          config: amd64.config.descriptor,
          layers: list,
        }),
      ),
    );
    const { run } = await synced(
      {
        manifests: manifests.map((bytes) => ({
          mediaType: mediaTypes.ociManifest,
          digest: digestOf(bytes),
          size: bytes.byteLength,
        })),
      },
      {
        prepare: (from) => {
          for (const bytes of manifests)
            from.putManifest("team/app", undefined, bytes, mediaTypes.ociManifest);
        },
      },
    );
    expect(errorOf(run)).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining("more than 10000 parts"),
    });
  });

  const nested = (depth: number): TestIndex => {
    let index = makeIndex([amd64]);
    for (let at = 1; at < depth; at += 1) index = makeIndex([index], { seed: `${at}` });
    return index;
  };

  test("row 22: indexes nested 50 deep are refused, and not followed to their end", async () => {
    const { run, from } = await synced(nested(50));
    expect(errorOf(run)).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining("more than 8 deep"),
    });
    expect(from.count("GET", /manifests/)).toBeLessThan(12);
  });

  test("row 22: indexes nested 8 deep are copied", async () => {
    expect(errorOf((await synced(nested(8))).run)).toBeUndefined();
  });

  test("row 22: the same child 1000 times is fetched and sent once", async () => {
    const { run, from, to } = await synced({
      manifests: Array.from({ length: 1000 }, () => ({ ...amd64.descriptor })),
    });
    expect(errorOf(run)).toBeUndefined();
    expect(from.count("GET", new RegExp(amd64.descriptor.digest))).toBe(1);
    expect(to.count("PUT", new RegExp(`manifests/${amd64.descriptor.digest}`))).toBe(1);
  });

  test.each([
    ["without a platform", undefined],
    ["of unknown/unknown", { os: "unknown", architecture: "unknown" }],
  ])("row 22: a child %s comes with the whole, and is no choice", async (_name, platform) => {
    const manifests = [amd64.descriptor, { ...arm64.descriptor, platform }];
    const whole = await synced({ manifests });
    expect(errorOf(whole.run)).toBeUndefined();
    expect(whole.to.manifest("team/app", arm64.descriptor.digest)).toBeDefined();
    const chosen = await synced({ manifests }, { platforms: ["linux/amd64"] });
    expect(chosen.to.manifest("team/app", "1.0")?.digest).toBe(amd64.descriptor.digest);
    expect(errorOf((await synced({ manifests }, { platforms: ["linux/arm64"] })).run)).toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

describe("row 23", () => {
  const lose = (image: TestImage) => (from: TestRegistry) =>
    void from.deleteManifest("team/app", image.descriptor.digest);

  test("row 23: a child that is missing fails the image, with its platform and digest", async () => {
    const { run } = await synced(makeIndex([amd64, arm64]), { prepare: lose(arm64) });
    const error = errorOf(run);
    expect(error).toMatchObject({ code: "NOT_FOUND", hint: expect.stringContaining("--allow-missing") });
    expect(error?.message).toContain(`linux/arm64 (${arm64.descriptor.digest})`);
  });

  test("row 23: with allowMissing the others come under a new index, as the warnings say", async () => {
    const index = makeIndex([amd64, arm64], { attestations: true });
    const { run, to } = await synced(index, { prepare: lose(arm64), allowMissing: true });
    expect(errorOf(run)).toBeUndefined();
    const [planned] = run.plan.images;
    expect(planned?.original).toBe(index.descriptor.digest);
    const stored = JSON.parse(to.manifest("team/app", "1.0")?.bytes.toString() ?? "") as {
      manifests: { digest: string }[];
    };
    const left = index.children.map(({ descriptor }) => descriptor.digest);
    expect(stored.manifests.map(({ digest }) => digest)).toEqual([left[0], left[2]]);
    expect(run.warnings.join("\n")).toContain(`left out linux/arm64 (${arm64.descriptor.digest})`);
    expect(run.warnings.join("\n")).toContain(
      `${planned?.root.digest} instead of ${index.descriptor.digest}`,
    );
  });

  test("row 23: in a nested index too, whose parents change with it", async () => {
    const inner = makeIndex([amd64, arm64], { seed: "inner" });
    const { run, to } = await synced(makeIndex([inner]), { prepare: lose(arm64), allowMissing: true });
    expect(errorOf(run)).toBeUndefined();
    expect(to.manifest("team/app", inner.descriptor.digest)).toBeUndefined();
  });

  test("row 23: an image that is lost altogether fails all the same", async () => {
    const { run } = await synced(makeIndex([arm64]), { prepare: lose(arm64), allowMissing: true });
    expect(errorOf(run)).toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("all of its") });
  });

  test("row 23: what was copied without it is unchanged the next time", async () => {
    await using from = await startRegistry();
    await using to = await startRegistry();
    seed(from, "team/app", "1.0", makeIndex([amd64, arm64]));
    from.deleteManifest("team/app", arm64.descriptor.digest);
    await surviving({ registries: [from, to] }, async (connect) => {
      expect(errorOf(await sync(connect, { from, to, allowMissing: true }))).toBeUndefined();
      const run = await sync(connect, { from, to, allowMissing: true });
      expect(run.plan.images[0]?.unchanged).toBe(true);
    });
  });
});

describe("row 24", () => {
  const [layer] = amd64.layers;
  const good = layer?.descriptor ?? amd64.descriptor;
  const image = (change: object): object => ({
    mediaType: mediaTypes.ociManifest,
    config: amd64.config.descriptor,
    layers: [{ ...good, ...change }],
  });

  test.each([
    ["smaller", { size: good.size - 1 }, /answered with \d+ bytes, and its descriptor promises/],
    ["larger", { size: good.size + 1 }, /bytes/],
    ["0", { size: 0 }, /Cannot/],
  ])("row 24: a size that is %s is found when the blob is read", async (_name, change, message) => {
    const { run, to } = await synced(image(change));
    expect(errorOf(run)?.message).toMatch(message);
    expect(to.blob("team/app", good.digest)).toBeUndefined();
  });

  test.each([
    ["a size of -1", { size: -1 }],
    ["a size of 1e20", { size: 1e20 }],
    ["a size as text", { size: "12" }],
    ["a digest in capitals", { digest: "sha256:ABC" }],
    ["a path", { digest: "../../x" }],
    ["a digest with a path in it", { digest: `sha256:../../${"a".repeat(58)}` }],
    ["a digest of an unknown algorithm", { digest: `blake3:${"a".repeat(64)}` }],
  ])("row 24: %s is refused when the manifest is read, and nothing is asked for", async (_name, change) => {
    for (const document of [image(change), { manifests: [{ ...amd64.descriptor, ...change }] }]) {
      const { run, from, to } = await synced(document);
      expect(errorOf(run)).toMatchObject({
        code: "INTEGRITY",
        message: expect.stringContaining("bad field"),
      });
      expect(
        from.requests.filter(({ path }) => !/\/manifests\/(1\.0|sha256:[0-9a-f]{64})$|^\/v2\/$/.test(path)),
      ).toEqual([]);
      expect(to.count("PUT", /./)).toBe(0);
    }
  });

  test("row 24: what is named by an unknown algorithm cannot be verified, and the message says so", async () => {
    const { run } = await synced(image({ digest: `blake3:${"a".repeat(64)}` }));
    expect(errorOf(run)?.message).toContain("content named by blake3 cannot be verified");
  });
});

test("row 25: data that is not what its digest says is not believed", async () => {
  const data = Buffer.from("other").toString("base64");
  const layers = amd64.layers.map(({ descriptor }) => ({ ...descriptor, data }));
  const { run, to } = await synced({
    mediaType: mediaTypes.ociManifest,
    config: amd64.config.descriptor,
    layers,
  });
  expect(errorOf(run)).toBeUndefined();
  for (const { descriptor, bytes } of amd64.layers)
    expect(to.blob("team/app", descriptor.digest)).toEqual(bytes);
});
