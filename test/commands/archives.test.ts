/** Archives of other tools, as a user pushes and looks at them. */
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import {
  blobEntries,
  dockerSaveEntries,
  indexEntry,
  layoutEntry,
  ociEntries,
  tarOf,
  writeTar,
} from "../support/archives.ts";
import { type RunResult, runMirror } from "../support/cli.ts";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../support/images.ts";
import { makeRandomLayer } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
let target: TestRegistry;
let app: TestImage;
let other: TestImage;
let index: TestIndex;

beforeAll(async () => {
  [folder, target] = await Promise.all([tempDir(), startRegistry()]);
  const shared = await makeRandomLayer("shared", 900_000);
  app = await makeImage({ seed: "app", layers: [shared, 2_000_000, 1_500_000] });
  other = await makeImage({ seed: "other", layers: [shared, 1_200_000] });
  index = makeIndex([app, await makeImage({ seed: "arm", platform: "linux/arm64" })]);
});
afterAll(async () => {
  await Promise.all([target, folder].map((each) => each[Symbol.asyncDispose]()));
});

const mirror = async (...args: readonly string[]): Promise<RunResult> =>
  await runMirror(args, { cwd: folder.path });
const named = { "io.containerd.image.name": "docker.io/library/app:1.0" };

/** The digests of layers as `docker save` has them. */
function plainLayers(image: TestImage): readonly Digest[] {
  return image.layers.map(({ bytes }) => digestOf(gunzipSync(bytes)));
}

describe("docker save | gzip", () => {
  let saved: string;
  beforeAll(async () => {
    saved = folder.join("saved.tar.gz");
    const images = [
      { image: app, tags: ["team/app:1.0"] },
      { image: other, tags: ["team/other:1.0"] },
    ];
    await writeFile(saved, gzipSync(await tarOf(dockerSaveEntries(images)), { level: 1 }));
  });

  test("is pushed with nothing of it on the disk, and verified", async () => {
    const pushed = await mirror("push", "saved.tar.gz", "--registry", target.host);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect(pushed.stderr).toContain("saved.tar.gz is compressed: it is read once to find out what is in it");
    expect(pushed.stderr).toContain("saved.tar.gz holds no manifests");
    for (const [repository, image] of [
      ["team/app", app],
      ["team/other", other],
    ] as const) {
      const manifest = target.manifest(repository, "1.0");
      const { layers } = JSON.parse(manifest?.bytes.toString("utf8") ?? "{}") as {
        layers: { digest: Digest }[];
      };
      expect(layers.map(({ digest }) => digest)).toEqual(plainLayers(image));
    }
    expect(await readdir(folder.path)).toEqual(["saved.tar.gz"]);
    const verified = await mirror("verify", "saved.tar.gz", "--registry", target.host);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    expect(verified.stdout).toContain("every digest proved");
    const again = await mirror("push", "saved.tar.gz", "--registry", target.host, "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ totals: { unchangedImages: 2, bytesMoved: 0 } });
  });

  test("is listed and inspected", async () => {
    const listed = await mirror("ls", "saved.tar.gz", "--json");
    expect(JSON.parse(listed.stdout)).toMatchObject({
      images: [
        { image: "docker.io/team/app:1.0", platforms: ["linux/amd64"] },
        { image: "docker.io/team/other:1.0", platforms: ["linux/amd64"] },
      ],
    });
    const inspected = await mirror("inspect", "saved.tar.gz", "team/other:1.0", "--json");
    const layers = plainLayers(other).map((digest) => ({
      digest,
      mediaType: "application/vnd.oci.image.layer.v1.tar",
    }));
    expect(JSON.parse(inspected.stdout)).toMatchObject({ images: [{ manifests: [{ layers }] }] });
  });
});

describe("an archive without names", () => {
  beforeAll(async () => {
    await writeTar(folder.join("untagged.tar"), dockerSaveEntries([{ image: app, tags: null }]));
  });

  test("is listed and verified as it is, and pushed under --tag", async () => {
    const listed = await mirror("ls", "untagged.tar");
    expect(listed.stdout).toMatch(/^sha256:[0-9a-f]{64} +sha256:[0-9a-f]{12} +linux\/amd64/m);
    expect(await mirror("verify", "untagged.tar")).toMatchObject({ code: 0 });
    const refused = await mirror("push", "untagged.tar", "--registry", target.host);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("it has no name for what is in it: sha256:");
    expect(refused.stderr).toContain("name it: --tag NAME[:TAG]");
    const pushed = await mirror("push", "untagged.tar", "--tag", "named/app:7", "--registry", target.host);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect(target.manifest("named/app", "7")).toBeDefined();
    const elsewhere = await mirror(
      "push",
      "untagged.tar",
      "--tag",
      "ghcr.io/org/app:8",
      "--registry",
      `${target.host}/far`,
    );
    expect(elsewhere, elsewhere.stderr).toMatchObject({ code: 0 });
    expect(target.manifest("far/org/app", "8")).toBeDefined();
  });
});

test("an OCI layout is pushed, listed and inspected as the folder that it is", async () => {
  for (const { name, content = "" } of ociEntries([{ content: index, annotations: named }])) {
    const path = folder.join("layout", name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  const pushed = await mirror("push", "layout", "--registry", target.host);
  expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
  expect(target.manifest("library/app", "1.0")?.digest).toBe(index.descriptor.digest);
  expect((await mirror("ls", "layout")).stdout).toContain("linux/amd64 linux/arm64");
  expect((await mirror("inspect", "layout")).stdout).toContain(index.descriptor.digest);
});

describe("a sparse archive", () => {
  beforeAll(async () => {
    await writeTar(folder.join("sparse.tar"), [
      layoutEntry,
      indexEntry([{ ...index.descriptor, annotations: named }]),
      ...blobEntries(app),
      ...blobEntries(index).slice(-1),
    ]);
  });

  test("is refused with the platforms that are missing, or taken without them", async () => {
    const refused = await mirror("push", "sparse.tar", "--registry", `${target.host}/sparse`);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("it is a sparse archive, which holds linux/amd64 and lacks linux/arm64");
    expect(refused.stderr).toContain("--allow-missing");
    const pushed = await mirror(
      "push",
      "sparse.tar",
      "--allow-missing",
      "--registry",
      `${target.host}/sparse`,
    );
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    const manifest = target.manifest("sparse/library/app", "1.0")?.bytes.toString("utf8") ?? "";
    expect(JSON.parse(manifest)).toMatchObject({ manifests: [{ digest: app.descriptor.digest }] });
    expect((await mirror("verify", "sparse.tar")).code).toBe(4);
    const inspected = await mirror("inspect", "sparse.tar");
    expect(inspected.stdout).toMatch(/^missing +linux\/arm64 +sha256:[0-9a-f]{64}$/m);
    expect((await mirror("ls", "sparse.tar")).stdout).toContain("linux/amd64");
  });
});

test("damage in an archive is told with its name when it is pushed", async () => {
  const [first, ...rest] = dockerSaveEntries([{ image: other, tags: ["damaged/app:1"] }]);
  if (first === undefined) throw new Error("there are entries");
  const entries = [first, ...rest].map((entry) =>
    entry.name.endsWith("/layer.tar")
      ? { ...entry, content: Buffer.from(entry.content ?? "").fill(1, 2000, 2001) }
      : entry,
  );
  await writeTar(folder.join("damaged.tar"), entries);
  const pushed = await mirror("push", "damaged.tar", "--registry", target.host);
  expect(pushed.code).toBe(4);
  expect(pushed.stderr).toMatch(
    /Cannot read damaged\.tar: sha256:\w+ in it is damaged: the content has the digest/,
  );
  expect(target.manifest("damaged/app", "1")).toBeUndefined();
});

test("what is no archive of images is refused with what would be one", async () => {
  await writeFile(folder.join("notes.tar"), "not a tar at all".repeat(100));
  const result = await mirror("push", "notes.tar", "--registry", target.host);
  expect(result.code).toBe(1);
  expect(result.stderr).toContain("Cannot read notes.tar: it is neither a bundle nor an archive of images");
  expect(result.stderr).toContain("docker save");
  await mkdir(folder.join("empty"));
  expect((await mirror("verify", "empty")).stderr).toContain("it is a folder without an index.json");
  await writeTar(folder.join("other.tar"), [{ name: "README", content: "hello" }]);
  expect((await mirror("verify", "other.tar")).stderr).toContain(
    "it has neither an index.json nor a manifest.json",
  );
});
