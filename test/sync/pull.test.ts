/** What a pull writes: the same bytes for the same list, in whatever order they come. */
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { extract, type Header } from "tar-stream";
import { describe, expect, test } from "vitest";
import { BundleReader } from "../../src/bundle/reader.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { missingParts } from "../support/graph.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { makeLayer, randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { copyTo, findProblems, pull, type WantedImage, wanted } from "../support/pipeline.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";

let folder: TempDir;
let registry: TestRegistry;
let images: readonly WantedImage[];
/** What an undisturbed pull of all images writes. */
let expected: Buffer;

allTests(startWorkplace, async (made) => {
  ({ folder, registry } = made);
  const base = await makeLayer({ base: "shared" });
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: "web", layers: [base, 20_000] }),
    ),
  );
  seed(registry, "team/web", "1.0", makeIndex(children, { attestations: true }));
  seed(registry, "team/api", "2.0", await makeImage({ seed: "api", layers: [9000, base] }));
  seed(registry, "team/job", "3.0", await makeImage({ seed: "job", layers: [base, 70_000, 500] }));
  images = ["team/web:1.0", "team/api:2.0", "team/job:3.0"].map((name) => wanted(registry, name));
  expected = await bytesOf(images, "expected.tar");
});

async function bytesOf(list: readonly WantedImage[], name: string, concurrency = 8): Promise<Buffer> {
  const path = folder.join(name);
  const run = await pull(list, path, { concurrency });
  expect(run.outcomes.map(({ error }) => error)).toEqual(list.map(() => undefined));
  return await readFile(path);
}

/** Holds back every blob until so many are asked for, and then lets them go from the last to the first. */
function reverseArrival(count: number): () => void {
  const waiting: (() => void)[] = [];
  const fault = registry.customFault("reverse arrival", {
    methods: ["GET"],
    path: /\/blobs\//,
    intercept: async () => {
      const turn = new Promise<void>((resolve) => waiting.push(resolve));
      if (waiting.length === count) for (const resolve of waiting.toReversed()) resolve();
      await turn;
      return undefined;
    },
  });
  return () => fault.remove();
}

describe("two pulls of the same list", () => {
  test("write the same bytes", async () => {
    expect((await bytesOf(images, "again.tar")).equals(expected)).toBe(true);
  });

  test.each([1, 3, 32])("write the same bytes, %i transfers at a time", async (concurrency) => {
    const bytes = await bytesOf(images, `concurrency-${concurrency}.tar`, concurrency);
    expect(bytes.equals(expected)).toBe(true);
  });

  test("write the same bytes in another order of arrival", async () => {
    await using bundle = await BundleReader.open(folder.join("expected.tar"));
    const { configs, layers } = bundle.contents;
    const end = reverseArrival(configs.length + layers.length);
    try {
      expect((await bytesOf(images, "reversed.tar", 64)).equals(expected)).toBe(true);
    } finally {
      end();
    }
  });

  test("write the same bytes through broken connections", async () => {
    const fault = registry.fault("drop-body-after", { bytes: 4000, times: 6 });
    expect((await bytesOf(images, "broken.tar")).equals(expected)).toBe(true);
    expect(fault.hits).toBe(6);
    registry.clearFaults();
  });
});

test("every blob is fetched once, however many images share it", async () => {
  registry.resetLog();
  await bytesOf(images, "once.tar");
  const fetched = registry.requests
    .filter(({ method, path }) => method === "GET" && path.includes("/blobs/"))
    .map(({ path }) => path.replace(/.*\//, ""));
  expect(new Set(fetched).size).toBe(fetched.length);
  await using bundle = await BundleReader.open(folder.join("once.tar"));
  expect(fetched).toHaveLength(bundle.contents.configs.length + bundle.contents.layers.length);
});

test("a bundle is a plain tar: metadata, manifests, configs, layers, each name once, each blob its digest", async () => {
  const headers: Header[] = [];
  const archive = createReadStream(folder.join("expected.tar")).pipe(extract());
  for await (const entry of archive) {
    headers.push(entry.header);
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const [, hex] = /^blobs\/sha256\/(.+)$/.exec(entry.header.name) ?? [];
    if (hex !== undefined) expect(digestOf(Buffer.concat(chunks))).toBe(`sha256:${hex}`);
  }
  await using bundle = await BundleReader.open(folder.join("expected.tar"));
  const { manifests, configs, layers } = bundle.contents;
  const names = headers.map(({ name }) => name);
  expect(names).toEqual([
    "oci-layout",
    "index.json",
    "manifest.json",
    "mirror.json",
    ...[...manifests, ...configs, ...layers].map(({ digest }) => `blobs/sha256/${digest.slice(7)}`),
  ]);
  expect(new Set(names).size).toBe(names.length);
  for (const header of headers)
    expect(header).toMatchObject({ type: "file", mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) });
  const { stdout } = await promisify(execFile)("tar", ["tf", folder.join("expected.tar")]);
  expect(stdout.trimEnd().split("\n")).toEqual(names);
});

test("sha512 blobs keep their algorithm from the source to the bundle to the target", async () => {
  const bytes = randomBytesOf("sha512", 5000);
  const digest = digestOf(bytes, "sha512");
  const [config] = [Buffer.from("{}")];
  await upload(registry, "team/sha512", digest, bytes);
  registry.putBlob("team/sha512", config);
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: "application/vnd.test.config", digest: digestOf(config), size: config.length },
    layers: [{ mediaType: "application/octet-stream", digest, size: bytes.length }],
  };
  registry.putManifest("team/sha512", "1", Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest);
  await bytesOf([wanted(registry, "team/sha512:1")], "sha512.tar");
  const { stdout } = await promisify(execFile)("tar", ["tf", folder.join("sha512.tar")]);
  expect(stdout).toContain(`blobs/sha512/${digest.slice("sha512:".length)}\n`);
  await using bundle = await BundleReader.open(folder.join("sha512.tar"));
  expect(await findProblems(bundle)).toEqual([]);
  await using target = await startRegistry();
  const { outcomes } = await copyTo(target, bundle);
  expect(outcomes[0]?.error).toBeUndefined();
  expect(missingParts(target, "team/sha512", "1")).toEqual([]);
});

async function upload(to: TestRegistry, repository: string, digest: string, bytes: Buffer): Promise<void> {
  const url = `${to.url}/v2/${repository}/blobs/uploads/?digest=${encodeURIComponent(digest)}`;
  const { status } = await fetch(url, { method: "POST", body: new Uint8Array(bytes) });
  if (status === 201) return;
  const begun = await fetch(`${to.url}/v2/${repository}/blobs/uploads/`, { method: "POST" });
  const session = new URL(begun.headers.get("location") ?? "", to.url);
  session.searchParams.set("digest", digest);
  const put = await fetch(session, { method: "PUT", body: new Uint8Array(bytes) });
  expect(put.status).toBe(201);
}

describe("with an image that fails in the transfer, keeping on", () => {
  // Every one of them once: what it shares with the others, and what comes before them, differs.
  test.each([0, 1, 2])("gives the bundle of the list without it (image %i)", async (which) => {
    const failing = images[which];
    const others = images.filter((image) => image !== failing);
    registry.customFault("losing one image", {
      methods: ["GET"],
      path: new RegExp(`^/v2/${failing?.repository}/blobs/`),
      intercept: () => ({ status: 404 }),
    });
    try {
      const path = folder.join(`without-${which}.tar`);
      const { outcomes } = await pull(images, path, { keepGoing: true });
      expect(outcomes.map(({ error }) => error?.code)).toEqual(
        images.map((image) => (image === failing ? "NOT_FOUND" : undefined)),
      );
      const bytes = await readFile(path);
      await using bundle = await BundleReader.open(path);
      expect(await findProblems(bundle)).toEqual([]);
      expect(bytes.equals(await bytesOf(others, `others-${which}.tar`))).toBe(true);
    } finally {
      registry.clearFaults();
    }
  });
});
