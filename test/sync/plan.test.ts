/** From requests to a plan: what is asked, what fails, and what ends the whole. */
import { describe, expect, test } from "vitest";
import { ManifestStore } from "../../src/content/manifest-store.ts";
import { AppError } from "../../src/errors.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { makePlan, type PlanRequest, withoutImages } from "../../src/sync/plan.ts";
import { startRegistry } from "../registry/registry.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { copyTo, wanted } from "../support/pipeline.ts";

test("an image's nodes stand children before parents, its root last, each once", async () => {
  await using source = await startRegistry();
  await using target = await startRegistry();
  const images = await Promise.all(["linux/amd64", "linux/arm64"].map((platform) => makeImage({ platform })));
  const inner = makeIndex(images, { attestations: true });
  seed(source, "team/app", "1.0", makeIndex([inner, ...images]));
  const { plan } = await copyTo(target, [wanted(source, "team/app:1.0")]);
  const nodes = plan.images[0]?.nodes ?? [];
  const digests = nodes.map(({ descriptor }) => descriptor.digest);
  expect(new Set(digests).size).toBe(digests.length);
  expect(digests.at(-1)).toBe(plan.images[0]?.root.digest);
  expect(digests.indexOf(inner.descriptor.digest)).toBe(digests.length - 2);
  for (const image of images) {
    const own = digests.indexOf(image.descriptor.digest);
    for (const { descriptor } of [image.config, ...image.layers]) {
      expect(digests.indexOf(descriptor.digest)).toBeGreaterThanOrEqual(0);
      expect(digests.indexOf(descriptor.digest)).toBeLessThan(own);
    }
  }
  const sizes = nodes.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  expect(plan.totals).toEqual({ images: 1, unchanged: 0, blobs: nodes.length, bytes: sizes });
});

test("what two images share counts once in the totals, and an image can be taken out again", async () => {
  await using source = await startRegistry();
  await using target = await startRegistry();
  const shared = await makeImage({ seed: "shared" });
  seed(source, "team/one", "1.0", makeIndex([shared], { seed: "one" }));
  seed(source, "team/two", "1.0", makeIndex([shared], { seed: "two" }));
  const { plan } = await copyTo(target, [wanted(source, "team/one:1.0"), wanted(source, "team/two:1.0")]);
  expect(plan.totals).toMatchObject({ images: 2, blobs: 5 });
  const [first] = plan.images;
  const rest = withoutImages(plan, new Set(first === undefined ? [] : [first]));
  expect(rest.images.map(({ source: name }) => name)).toEqual([`${source.host}/team/two:1.0`]);
  expect(rest.totals).toMatchObject({ images: 1, blobs: 4 });
});

test("an image that fails is reported with its place, and the others are planned", async () => {
  await using source = await startRegistry();
  await using target = await startRegistry();
  seed(source, "team/app", "1.0", await makeImage());
  const run = await copyTo(target, [wanted(source, "team/app:9"), wanted(source, "team/app:1.0")]);
  expect(run.failures).toEqual([
    {
      image: `${source.host}/team/app:9`,
      place: "test",
      error: expect.objectContaining({ code: "NOT_FOUND" }),
    },
  ]);
  expect(run.outcomes).toHaveLength(1);
  const resolved = run.events.filter(({ type }) => type === "resolved");
  expect(resolved.at(-1)).toMatchObject({ done: 2, images: 2 });
});

test("two sources under one name are refused before anything moves", async () => {
  await using one = await startRegistry();
  await using other = await startRegistry();
  await using target = await startRegistry();
  seed(one, "team/app", "1.0", await makeImage({ seed: "one" }));
  seed(other, "team/app", "1.0", await makeImage({ seed: "other" }));
  const run = copyTo(target, [wanted(one, "team/app:1.0"), wanted(other, "team/app:1.0")]);
  await expect(run).rejects.toMatchObject({ code: "CONFLICT" });
  expect(target.requests.every(({ method }) => method === "GET" || method === "HEAD")).toBe(true);
});

describe("the end of the whole", () => {
  const request = (name: string): PlanRequest => ({
    image: name,
    reference: name,
    platforms: [],
    target: { repository: name },
    place: "test",
  });
  const never = new Promise<never>(() => undefined);

  /** A source whose image `bad` fails, while all others wait until their signal aborts. */
  function source(error: Error) {
    const ended: string[] = [];
    const until = async (signal: AbortSignal | undefined, name: string): Promise<never> => {
      if (name === "bad") throw error;
      await new Promise((_, reject) => {
        signal?.addEventListener("abort", () => {
          ended.push(name);
          reject(new AppError("NETWORK", "the connection broke"));
        });
      });
      return await never;
    };
    return {
      ended,
      resolve: async () => await never,
      open: async () => await never,
      manifest: async (name: string, options: { signal?: AbortSignal | undefined } = {}) =>
        await until(options.signal, name),
    };
  }
  const names = ["one", "bad", "two"];
  const plan = async (
    error: Error,
    change: { failFast?: boolean; signal?: AbortSignal },
    onFailed = (): void => undefined,
  ) => {
    const from = source(error);
    const events: string[] = [];
    const result = await makePlan(names.map(request), {
      source: () => from,
      manifests: new ManifestStore(),
      emit: ({ type }) => {
        events.push(type);
        if (type === "image-failed") onFailed();
      },
      ...change,
    }).catch((thrown: unknown) => thrown);
    return { result, ended: from.ended, failed: events.filter((type) => type === "image-failed").length };
  };

  test("is the first failure, where that is wanted: nothing goes on, and it alone is reported", async () => {
    const { result, ended, failed } = await plan(new AppError("NOT_FOUND", "gone"), { failFast: true });
    expect(result).toMatchObject({ plan: { images: [] }, failures: [{ image: "bad" }] });
    expect([ended, failed]).toEqual([["one", "two"], 1]);
  });

  test("is a defect of the program", async () => {
    const { result, ended, failed } = await plan(new TypeError("x is not a function"), {});
    expect(result).toMatchObject({ code: "INTERNAL", message: "x is not a function" });
    expect([ended, failed]).toEqual([["one", "two"], 0]);
  });

  test("is an abort from outside, with its reason", async () => {
    const controller = new AbortController();
    const reason = new AppError("INTERRUPTED", "interrupted");
    const error = new AppError("NOT_FOUND", "gone");
    const { result, ended } = await plan(error, { signal: controller.signal }, () =>
      controller.abort(reason),
    );
    expect(result).toBe(reason);
    expect(ended).toEqual(["one", "two"]);
  });
});

describe("a graph that cannot be true is INTEGRITY", () => {
  const failureOf = async (prepare: Parameters<typeof graph>[0]): Promise<unknown> => await graph(prepare);
  async function graph(prepare: (put: (tag: string, document: object) => void) => void): Promise<unknown> {
    await using source = await startRegistry();
    await using target = await startRegistry();
    const image = await makeImage({ seed: "true" });
    seed(source, "team/app", "inner", image);
    prepare((tag, document) => {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...document }));
      source.putManifest("team/app", tag, bytes, mediaTypes.ociIndex);
    });
    const run = await copyTo(target, [wanted(source, "team/app:1.0")]);
    expect(target.tags("team/app")).toEqual([]);
    return run.failures[0]?.error;
  }

  test("a child of another size than its index says", async () => {
    const { descriptor } = await makeImage({ seed: "true" });
    const error = await failureOf((put) => {
      const child = { ...descriptor, size: descriptor.size + 1 };
      put("1.0", { mediaType: mediaTypes.ociIndex, manifests: [child] });
    });
    expect(error).toMatchObject({
      code: "INTEGRITY",
      message: expect.stringContaining(
        `it is ${descriptor.size} bytes, and its index says ${descriptor.size + 1}`,
      ),
    });
  });

  test("a child that the source does not have is NOT_FOUND, with its digest", async () => {
    const { descriptor } = await makeImage({ seed: "somewhere else" });
    const error = await failureOf((put) =>
      put("1.0", { mediaType: mediaTypes.ociIndex, manifests: [descriptor] }),
    );
    expect(error).toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining(descriptor.digest) });
  });
});
