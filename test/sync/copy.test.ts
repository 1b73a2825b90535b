/** From registry to registry: what is sent, in what order, and what one failure costs. */
import { beforeAll, describe, expect, test } from "vitest";
import type { LoggedRequest } from "../registry/log.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { incompleteTags, missingParts } from "../support/graph.ts";
import { makeImage, makeIndex, seed, type TestImage, type TestIndex } from "../support/images.ts";
import { makeRandomLayer, type TestLayer } from "../support/layers.ts";
import { copyTo, type Run, wanted } from "../support/pipeline.ts";

let base: TestLayer;
let web: TestIndex;
let api: TestImage;
let job: TestImage;

beforeAll(async () => {
  base = await makeRandomLayer("base", 20_000);
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "web", layers: [base, 3000] }),
    ),
  );
  web = makeIndex(children, { attestations: true });
  api = await makeImage({ seed: "api", layers: [base, 5000] });
  job = await makeImage({ seed: "job", layers: [base, 50_000] });
});

/** A source with the three images that share one layer. */
async function startSource(): Promise<TestRegistry> {
  const source = await startRegistry();
  seed(source, "team/web", "1.0", web);
  seed(source, "team/api", "2.0", api);
  seed(source, "team/job", "3.0", job);
  return source;
}

const names = ["team/web:1.0", "team/api:2.0", "team/job:3.0"];
const all = (source: TestRegistry) => names.map((name) => wanted(source, name));
const codes = ({ outcomes }: Run): unknown[] => outcomes.map(({ error }) => error?.code);
const isManifestPut = ({ method, path }: LoggedRequest): boolean =>
  method === "PUT" && path.includes("/manifests/");
const uploads = (registry: TestRegistry, digest: string): number =>
  registry.requests.filter(
    ({ method, url, status }) =>
      (method === "PUT" || method === "POST") &&
      status === 201 &&
      !url.includes("mount=") &&
      decodeURIComponent(url).includes(`digest=${digest}`),
  ).length;
const mounts = (registry: TestRegistry, digest: string): number =>
  registry.requests.filter(
    ({ method, url, status }) =>
      method === "POST" && status === 201 && decodeURIComponent(url).includes(`mount=${digest}`),
  ).length;

describe("a layer that images of three repositories share", () => {
  test("is read once, sent once and mounted twice", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    const run = await copyTo(target, all(source));
    expect(codes(run)).toEqual([undefined, undefined, undefined]);
    const { digest } = base.descriptor;
    expect(source.count("GET", new RegExp(`/blobs/${digest}$`))).toBe(1);
    expect([uploads(target, digest), mounts(target, digest)]).toEqual([1, 2]);
    expect(target.openUploads).toBe(0);
    for (const { target: name } of run.plan.images)
      expect(missingParts(target, name.repository, name.tag ?? "")).toEqual([]);
  });

  test("is sent to each where mounting is refused", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    target.fault("refuse-mount");
    expect(codes(await copyTo(target, all(source)))).toEqual([undefined, undefined, undefined]);
    expect(uploads(target, base.descriptor.digest)).toBe(3);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("comes from another repository if the first does not have it", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    source.deleteBlob("team/web", base.descriptor.digest);
    expect(codes(await copyTo(target, all(source)))).toEqual(["NOT_FOUND", undefined, undefined]);
    // Both land in one repository, where the layer has one place.
    await using together = await startRegistry();
    const run = await copyTo(together, [
      wanted(source, "team/web:1.0", { as: "one:web" }),
      wanted(source, "team/api:2.0", { as: "one:api" }),
    ]);
    expect(codes(run)).toEqual([undefined, undefined]);
    expect(incompleteTags(together)).toEqual([]);
  });
});

test("children are there before their parents, blobs before manifests, and the tag comes last", async () => {
  await using source = await startSource();
  await using target = await startRegistry();
  const problems: string[] = [];
  target.customFault("watching", {
    methods: ["PUT"],
    path: /\/manifests\//,
    intercept: ({ path }, { content }) => {
      const [, repository = "", reference = ""] = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(path) ?? [];
      const image =
        [web, api, job, ...web.children].find(({ descriptor }) => descriptor.digest === reference) ??
        { "1.0": web, "2.0": api, "3.0": job }[reference];
      if (image === undefined) problems.push(`${path} is none of ours`);
      else if (image.kind === "index") {
        for (const { descriptor } of image.children)
          if (content.findManifest(repository, descriptor.digest) === undefined)
            problems.push(`${path} before ${descriptor.digest}`);
      } else {
        for (const { descriptor } of [image.config, ...image.layers])
          if (content.findBlob(repository, descriptor.digest) === undefined)
            problems.push(`${path} before ${descriptor.digest}`);
      }
      return undefined;
    },
  });
  expect(codes(await copyTo(target, all(source), { concurrency: 16 }))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(problems).toEqual([]);
  const puts = target.requests.filter(isManifestPut);
  expect(puts).toHaveLength(3 + web.children.length);
  for (const repository of ["team/web", "team/api", "team/job"]) {
    const own = target.requests.filter(({ path }) => path.startsWith(`/v2/${repository}/`));
    expect(own.at(-1)?.path).toMatch(/\/manifests\/\d\.0$/);
  }
});

describe("a second run over what has not changed", () => {
  test("costs one HEAD an image at each side, and nothing else", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    await copyTo(target, all(source));
    source.resetLog();
    target.resetLog();
    const run = await copyTo(target, all(source));
    expect(run.plan.totals).toMatchObject({ images: 3, unchanged: 3, blobs: 0, bytes: 0 });
    for (const registry of [source, target]) {
      const asked = registry.requests.filter(({ path }) => path !== "/v2/");
      expect(asked.map(({ method }) => method)).toEqual(["HEAD", "HEAD", "HEAD"]);
    }
  });

  test("sends only what is new", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    await copyTo(target, all(source));
    const next = await makeImage({ seed: "api 2.1", layers: [base, 600] });
    seed(source, "team/api", "2.0", next);
    target.resetLog();
    await copyTo(target, all(source));
    expect(target.requests.filter(isManifestPut)).toHaveLength(1);
    expect(uploads(target, base.descriptor.digest)).toBe(0);
    expect(target.manifest("team/api", "2.0")?.digest).toBe(next.descriptor.digest);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("puts back a tag that somebody moved", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    await copyTo(target, all(source));
    seed(target, "team/api", "2.0", await makeImage({ seed: "somebody else's" }));
    await copyTo(target, all(source));
    expect(target.manifest("team/api", "2.0")?.digest).toBe(api.descriptor.digest);
  });
});

describe("one image that fails", () => {
  const breakJob = (source: TestRegistry, status = 404): void => {
    const [, own] = job.layers;
    source.customFault("broken layer", {
      methods: ["GET"],
      path: new RegExp(`/blobs/${own?.descriptor.digest}$`),
      intercept: () => ({ status }),
    });
  };

  test("costs no other, and leaves no tag", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    breakJob(source);
    const run = await copyTo(target, all(source));
    expect(codes(run)).toEqual([undefined, undefined, "NOT_FOUND"]);
    expect([target.tags("team/web"), target.tags("team/job")]).toEqual([["1.0"], []]);
    expect(incompleteTags(target)).toEqual([]);
    const failed = run.events.filter(({ type }) => type === "image-failed");
    expect(failed).toHaveLength(1);
  });

  test("with damaged content is INTEGRITY, after one clean second try", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    const [, own] = job.layers;
    const digest = own?.descriptor.digest ?? "";
    source.fault("corrupt-blob", { match: { path: new RegExp(digest) } });
    const run = await copyTo(target, all(source));
    expect(codes(run)).toEqual([undefined, undefined, "INTEGRITY"]);
    expect(run.outcomes[2]?.error?.message).toContain(digest);
    expect(target.blob("team/job", digest)).toBeUndefined();
    expect(run.events.filter(({ type }) => type === "retrying")).toHaveLength(1);
  });

  test("with content that was damaged once is done", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    source.fault("corrupt-blob", { times: 1 });
    expect(codes(await copyTo(target, all(source)))).toEqual([undefined, undefined, undefined]);
    expect(incompleteTags(target)).toEqual([]);
  });

  test("leaves nothing under way when the copy has ended", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    // Its config fails at once, and its layer is answered only when the end of every image has been said.
    let release: (() => void) | undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    source.customFault("config is gone", {
      methods: ["GET"],
      path: new RegExp(`/blobs/${job.config.descriptor.digest}$`),
      intercept: () => ({ status: 404 }),
    });
    source.customFault("late layer", {
      methods: ["GET"],
      path: new RegExp(`/blobs/${job.layers[1]?.descriptor.digest}$`),
      intercept: async () => {
        await released;
        return undefined;
      },
    });
    let images = 0;
    const run = await copyTo(target, all(source), {
      onEvent: ({ type }) => {
        if (type === "image-failed" || type === "image-finished") images += 1;
        if (images === names.length) release?.();
      },
    });
    expect(codes(run)).toEqual([undefined, undefined, "NOT_FOUND"]);
    expect(target.blob("team/job", job.layers[1]?.descriptor.digest ?? "")).toBeDefined();
  });

  test("is not worth the transfers that only it needs", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    // The largest comes first, and the config is the smallest.
    breakJob(source);
    const run = await copyTo(target, all(source), { concurrency: 1 });
    expect(codes(run)).toEqual([undefined, undefined, "NOT_FOUND"]);
    expect(source.count("GET", new RegExp(`/blobs/${job.config.descriptor.digest}$`))).toBe(0);
  });

  test("ends the others where that is wanted", async () => {
    await using source = await startSource();
    await using target = await startRegistry();
    breakJob(source);
    // Whoever asks for the layers of the others waits until the failure ends the request.
    source.fault("slow", { match: { path: /\/(web|api)\/blobs\// } });
    const run = await copyTo(target, all(source), { failFast: true });
    expect(codes(run)).toEqual(["INTERRUPTED", "INTERRUPTED", "NOT_FOUND"]);
    expect(run.events.filter(({ type }) => type === "image-failed")).toHaveLength(1);
    expect(target.requests.filter(isManifestPut)).toEqual([]);
  });
});

test("a blob that the target has already is not read", async () => {
  await using source = await startSource();
  await using target = await startRegistry();
  for (const { bytes } of [base, ...api.layers]) target.putBlob("team/api", bytes);
  const run = await copyTo(target, [wanted(source, "team/api:2.0")]);
  expect(codes(run)).toEqual([undefined]);
  expect(source.count("GET", /\/blobs\//)).toBe(1);
  const skipped = run.events.filter((event) => event.type === "blob-skipped" && event.reason === "exists");
  expect(skipped).toHaveLength(api.layers.length);
});

test("an interrupted copy throws the reason and can be run again", async () => {
  await using source = await startSource();
  await using target = await startRegistry();
  const controller = new AbortController();
  const onEvent = ({ type }: { readonly type: string }): void => {
    if (type === "blob-finished") controller.abort(new Error("enough"));
  };
  const run = copyTo(target, all(source), { signal: controller.signal, concurrency: 1, onEvent });
  await expect(run).rejects.toThrow("enough");
  expect(incompleteTags(target)).toEqual([]);
  expect(codes(await copyTo(target, all(source)))).toEqual([undefined, undefined, undefined]);
});
