/** Rows 15 to 21 of the fault list: manifests as registries serve them. */
import { expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { FaultName } from "../registry/faults.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { blobSource, failureOf } from "../registry-client/support.ts";
import { makeImage, makeIndex, seed, type TestImage } from "../support/images.ts";
import { errorOf, sync } from "./copying.ts";
import { type Connect, surviving } from "./support.ts";

const image = await makeImage();
const index = makeIndex([image, await makeImage({ platform: "linux/arm64" })]);
const other = await makeImage({ seed: "other" });

/** Two registries; the source has `team/app:1.0`. */
async function both(content: Parameters<typeof seed>[3] = image): Promise<{
  from: TestRegistry;
  to: TestRegistry;
  registries: readonly TestRegistry[];
  again: (connect: Connect) => Promise<void>;
  [Symbol.asyncDispose]: () => Promise<void>;
}> {
  const from = await startRegistry();
  const to = await startRegistry();
  seed(from, "team/app", "1.0", content);
  return {
    from,
    to,
    registries: [from, to],
    again: async (connect) => {
      expect(errorOf(await sync(connect, { from, to }))).toBeUndefined();
      expect(to.manifest("team/app", "1.0")?.digest).toBe(content.descriptor.digest);
    },
    [Symbol.asyncDispose]: async () => void (await Promise.all([from.close(), to.close()])),
  };
}

test("row 15: a digest that brings other bytes is INTEGRITY, and nothing of it is kept", async () => {
  await using sides = await both(index);
  sides.from.fault("corrupt-manifest", { match: { path: /sha256/ } });
  const error = await surviving({ registries: sides.registries }, async (connect) =>
    errorOf(await sync(connect, sides)),
  );
  expect(error).toMatchObject({
    code: "INTEGRITY",
    message: expect.stringContaining(index.descriptor.digest),
  });
  expect(sides.to.count("PUT", /manifests/)).toBe(0);
});

test.each([
  ["a wrong digest", digestOf(Buffer.from("wrong")), 1],
  ["a wrong digest of sha512", digestOf(Buffer.from("wrong"), "sha512"), 1],
  ["the right digest of sha512", digestOf(image.manifest, "sha512"), 0],
  ["what is no digest", "sha256:ABC", 0],
])(
  "row 16: by tag, %s in the header gives way to the digest of the content",
  async (_name, digest, warned) => {
    await using sides = await both();
    sides.from.fault("wrong-digest-header", { digest });
    const run = await surviving(sides, async (connect) => await sync(connect, sides));
    expect(errorOf(run)).toBeUndefined();
    expect(run.plan.images[0]?.root.digest).toBe(image.descriptor.digest);
    expect(sides.to.manifest("team/app", "1.0")?.bytes).toEqual(image.manifest);
    expect(run.warnings.filter((text) => text.includes("which it does not have"))).toHaveLength(warned);
  },
);

test("row 16: a registry that is wrong every time is told of once", async () => {
  await using sides = await both();
  seed(sides.from, "team/app", "2.0", other);
  sides.from.fault("wrong-digest-header");
  const warnings = await surviving(sides, async (connect) => {
    const watched = connect(sides.from, { plainHttp: true });
    for (const tag of ["1.0", "2.0", "1.0"]) await watched.repository("team/app").manifest(tag);
    return watched.warnings;
  });
  expect(warnings).toEqual([expect.stringContaining("team/app:1.0")]);
});

test("row 16: without the header, the digest is computed", async () => {
  await using sides = await both();
  sides.from.fault("no-digest-header");
  const run = await surviving(sides, async (connect) => await sync(connect, sides));
  expect(errorOf(run)).toBeUndefined();
  expect(sides.to.manifest("team/app", "1.0")?.digest).toBe(image.descriptor.digest);
  expect(run.warnings).toEqual([]);
});

test.each([
  `${mediaTypes.ociManifest}; charset=utf-8`,
  "application/json",
  "text/plain",
  "application/octet-stream",
])("row 17: as %s it is what it calls itself, and is put as that", async (type) => {
  await using sides = await both();
  sides.from.fault("content-type", { type });
  const run = await surviving(sides, async (connect) => await sync(connect, sides));
  expect(errorOf(run)).toBeUndefined();
  const put = sides.to.requests.find(({ method, path }) => method === "PUT" && path.includes("/manifests/"));
  expect(put?.headers["content-type"]).toBe(mediaTypes.ociManifest);
  expect(run.warnings).toEqual([]);
});

test("row 18: as another known type, it is what it calls itself, with a warning", async () => {
  await using sides = await both();
  sides.from.fault("content-type", { type: mediaTypes.dockerManifest });
  const run = await surviving(sides, async (connect) => await sync(connect, sides));
  expect(errorOf(run)).toBeUndefined();
  expect(sides.to.manifest("team/app", "1.0")?.mediaType).toBe(mediaTypes.ociManifest);
  expect(run.warnings).toEqual([expect.stringContaining(`calls it ${mediaTypes.dockerManifest}`)]);
});

test.each([
  ["layers", { layers: [] }],
  ["a config", { config: image.config.descriptor }],
])("row 18: an index with %s is refused (CVE-2021-41190)", async (_name, fields) => {
  await using sides = await both();
  const document = { ...(JSON.parse(index.manifest.toString()) as object), ...fields };
  sides.from.fault("other-document", { body: JSON.stringify(document), type: mediaTypes.ociIndex });
  const error = await surviving(sides, async (connect) => errorOf(await sync(connect, sides)));
  expect(error).toMatchObject({ code: "INTEGRITY", message: expect.stringContaining("at once") });
});

const text = image.manifest.toString();
test.each([
  [
    "a login page",
    "<!doctype html><title>Sign in\u001b[2J</title>",
    /not a manifest: "<!doctype html><title>Sign in \[2J<\/title>"/,
  ],
  ["a long page", `<html>${"x".repeat(5000)}`, /not a manifest: "<html>x{194}"$/],
  ["nothing", "", /not a manifest: an empty body/],
  ["half of it", text.slice(0, 100), /it is not JSON/],
  ["a deep list", `{"a":${"[".repeat(500_000)}${"]".repeat(500_000)}}`, /nested more than 64 deep/],
  ["a deep object", `${'{"a":'.repeat(200_000)}1${"}".repeat(200_000)}`, /nested more than 64 deep/],
  ["a byte order mark", `\u{feff}${text}`, /not a manifest|byte order mark/],
  ["a key twice", text.replace("{", '{"layers":[],'), /the key "layers" twice/],
  ["an object of another kind", '{"errors":[]}', /bad field at config/],
])("row 19: %s is no manifest", async (_name, body, message) => {
  await using sides = await both();
  const page = body.startsWith("<") || body === "";
  sides.from.fault("other-document", { body, type: page ? "text/html" : mediaTypes.ociManifest });
  const error = await surviving(sides, async (connect) => errorOf(await sync(connect, sides)));
  expect(error).toMatchObject({ code: "INTEGRITY", message: expect.stringMatching(message) });
  expect(error?.message.length).toBeLessThan(500);
  if (page) expect(error).toMatchObject({ hint: expect.stringContaining("login portal") });
});

test("row 19: odd spacing, order and fields travel as the bytes they are", async () => {
  await using sides = await both();
  const odd = Buffer.from(` \n${text.replace("{", '{"z":{"layers":"\\u0041\\"{["},\t')}\n`);
  sides.from.putManifest("team/app", "1.0", odd, mediaTypes.ociManifest);
  const error = await surviving({ registries: sides.registries }, async (connect) =>
    errorOf(await sync(connect, sides)),
  );
  expect(error).toBeUndefined();
  expect(sides.to.manifest("team/app", "1.0")?.bytes).toEqual(odd);
});

const padded = (bytes: number): Buffer =>
  Buffer.from(JSON.stringify({ ...(JSON.parse(text) as object), pad: "x".repeat(bytes) }));

test("row 20: 5 MiB are read, with a warning before they are sent on", async () => {
  await using registry = await startRegistry();
  const large = padded(5 * 1024 * 1024);
  registry.putManifest("team/app", "1.0", large, mediaTypes.ociManifest);
  const error = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp: true });
    const read = await watched.repository("team/app").manifest("1.0");
    const source = { ...blobSource(large, { descriptor: read.descriptor }), isManifest: true };
    const failure = await failureOf(watched.repository("team/app").tag(source, "2.0"));
    expect(watched.warnings).toEqual([expect.stringContaining("a manifest of 5.0 MiB")]);
    return failure;
  });
  // distribution takes 4 MiB.
  expect(error.message).toContain("MANIFEST_INVALID");
});

test.each([
  ["50 MiB", "other-document", { body: padded(50 * 1024 * 1024), type: mediaTypes.ociManifest }],
  ["an endless stream", "endless-manifest", {}],
] as const)("row 20: %s is cut off at 8 MiB", async (_name, fault, options) => {
  await using sides = await both();
  sides.from.fault<FaultName>(fault, options);
  const error = await surviving(sides, async (connect) => {
    const watched = connect(sides.from);
    return await failureOf(watched.repository("team/app").manifest("1.0"));
  });
  expect(error).toMatchObject({
    code: "REGISTRY",
    message: expect.stringContaining("is over 8388608 bytes"),
  });
});

const copied = async (
  fault: FaultName,
  at: "from" | "to",
  prepare?: (image: TestImage, to: TestRegistry) => void,
) => {
  await using sides = await both();
  prepare?.(image, sides.to);
  sides[at].fault(fault, { match: { path: /\/manifests\// } });
  const run = await surviving(sides, async (connect) => await sync(connect, sides));
  return { run, sides };
};

test.each(["head-405", "head-404", "no-digest-header"] as const)(
  "row 21: at the source, GET finds what HEAD does not: %s",
  async (fault) => {
    const { run, sides } = await copied(fault, "from");
    expect(errorOf(run)).toBeUndefined();
    expect(sides.to.manifest("team/app", "1.0")?.digest).toBe(image.descriptor.digest);
  },
);

test.each(["head-405", "no-digest-header", "head-404"] as const)(
  "row 21: at the target, an unproven HEAD is never unchanged: %s",
  async (fault) => {
    const { run, sides } = await copied(fault, "to", (_image, to) => seed(to, "team/app", "1.0", other));
    expect(errorOf(run)).toBeUndefined();
    expect(run.plan.images[0]?.unchanged).toBe(false);
    expect(sides.to.manifest("team/app", "1.0")?.digest).toBe(image.descriptor.digest);
  },
);

test("row 21: a missing tag costs the target one request", async () => {
  await using sides = await both();
  await surviving(sides, async (connect) => await sync(connect, sides));
  const asked = sides.to.requests.filter(
    ({ method, path }) => path.endsWith("/manifests/1.0") && method !== "PUT",
  );
  expect(asked.map(({ method, status }) => [method, status])).toEqual([
    ["HEAD", 404],
    ["HEAD", 200],
  ]);
});

test("row 21: what HEAD has and GET has not is missing, at the source", async () => {
  await using sides = await both();
  sides.from.fault("get-404");
  const error = await surviving(sides, async (connect) => errorOf(await sync(connect, sides)));
  expect(error).toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("team/app:1.0") });
});

test("row 21: what HEAD has and GET has not is not there, at the target", async () => {
  await using sides = await both();
  sides.to.fault("get-404");
  sides.to.fault("no-digest-header", { match: { method: "HEAD" } });
  seed(sides.to, "team/app", "1.0", image);
  const run = await surviving(
    { registries: sides.registries },
    async (connect) => await sync(connect, sides),
  );
  expect(run.plan.images[0]?.unchanged).toBe(false);
  expect(errorOf(run)).toBeUndefined();
});
