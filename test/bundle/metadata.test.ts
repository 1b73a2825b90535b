import { describe, expect, test } from "vitest";
import type { BundleContents } from "../../src/bundle/layout.ts";
import { type BundleImage, imageName, makeMetadata, readMirrorFile } from "../../src/bundle/metadata.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { codeOf } from "./support.ts";

const digest = (name: string) => digestOf(Buffer.from(name));
const docker = { config: digest("config"), layers: [digest("layer 1"), digest("layer 2")] };
const image = (source: string, change: Partial<BundleImage> = {}): BundleImage => ({
  source,
  target: { repository: "library/nginx", tag: "1.27" },
  root: { mediaType: mediaTypes.ociIndex, digest: digest(source), size: 42 },
  docker,
  ...change,
});
const contents: BundleContents = {
  manifests: [{ digest: digest("manifest"), size: 1 }],
  configs: [{ digest: docker.config, size: 2 }],
  layers: docker.layers.map((layer) => ({ digest: layer, size: 3 })),
};

function fileOf(images: readonly BundleImage[], path: string): unknown {
  const found = makeMetadata(images, contents).find((file) => file.path === path);
  return found === undefined ? undefined : JSON.parse(found.bytes.toString());
}

function mirrorFileOf(images: readonly BundleImage[]): Buffer {
  const last = makeMetadata(images, contents).at(-1);
  expect(last?.path).toBe("mirror.json");
  return last?.bytes ?? Buffer.alloc(0);
}

test("oci-layout says the version of the image layout", () => {
  expect(fileOf([], "oci-layout")).toEqual({ imageLayoutVersion: "1.0.0" });
});

describe("index.json", () => {
  const annotations = (images: readonly BundleImage[]): unknown[] =>
    (fileOf(images, "index.json") as { manifests: { annotations: unknown }[] }).manifests.map(
      (entry) => entry.annotations,
    );

  test("of one image names it by its tag, and in full for containerd", () => {
    expect(annotations([image("docker.io/library/nginx:1.27")])).toEqual([
      {
        "io.containerd.image.name": "docker.io/library/nginx:1.27",
        "org.opencontainers.image.ref.name": "1.27",
      },
    ]);
  });

  test("of several images names each in full, since tags repeat", () => {
    const names = ["docker.io/library/nginx:1.27", "ghcr.io/a/b:1.27"];
    expect(annotations(names.map((name) => image(name)))).toEqual(
      names.map((name) => ({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
      })),
    );
  });

  test("holds the roots as they are, with nothing else", () => {
    expect(fileOf([image("a.io/b:1")], "index.json")).toMatchObject({
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: [{ mediaType: mediaTypes.ociIndex, digest: digest("a.io/b:1"), size: 42 }],
    });
  });
});

describe("manifest.json", () => {
  test("has one item for each image that Docker can run and that has a tag", () => {
    const pinned = `b.io/c@${digest("x")}`;
    const images = [image("a.io/b:1"), image(pinned), image("a.io/chart:1", { docker: undefined })];
    expect(fileOf(images, "manifest.json")).toEqual([
      {
        Config: `blobs/sha256/${docker.config.slice(7)}`,
        RepoTags: ["a.io/b:1"],
        Layers: docker.layers.map((layer) => `blobs/sha256/${layer.slice(7)}`),
      },
    ]);
  });

  test("is left out where it would be empty", () => {
    const files = makeMetadata([image("a.io/chart:1", { docker: undefined })], contents);
    expect(files.map(({ path }) => path)).toEqual(["oci-layout", "index.json", "mirror.json"]);
  });
});

test("an image is called by its tag where it has tag and digest", () => {
  const pinned = `a.io:5000/b:1@${digest("x")}`;
  expect(imageName({ source: pinned })).toBe("a.io:5000/b:1");
  expect(imageName({ source: `a.io:5000/b@${digest("x")}` })).toBe(`a.io:5000/b@${digest("x")}`);
});

describe("mirror.json", () => {
  const images = [
    image("docker.io/library/nginx:1.27", { original: digest("the whole index") }),
    image(`a.io/b@${digest("x")}`, { target: { repository: "b" } }),
  ];

  test("gives back what was written, except for what index.json has", () => {
    const { images: found, contents: order, files } = readMirrorFile(mirrorFileOf(images));
    expect(found.map((each) => ({ ...each, docker }))).toEqual(images);
    expect(order).toEqual(contents);
    expect(Object.keys(files)).toEqual(["oci-layout", "index.json", "manifest.json"]);
    const written = makeMetadata(images, contents);
    for (const { path, bytes } of written.slice(0, -1)) expect(files[path]).toBe(digestOf(bytes));
  });

  test("is refused with any one bit flipped", () => {
    const bytes = mirrorFileOf(images);
    const accepted: number[] = [];
    for (let bit = 0; bit < bytes.byteLength * 8; bit += 1) {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      if (codeOf(copy) !== "INTEGRITY") accepted.push(bit);
    }
    expect(accepted).toEqual([]);
  });

  test.each(["null", "[]", "7", '"text"', "{}", "", "{", '{"version":1}'])("is refused as %s", (text) => {
    expect(codeOf(Buffer.from(text))).toBe("INTEGRITY");
  });

  test("is refused in another spelling of the same content", () => {
    const document: unknown = JSON.parse(mirrorFileOf(images).toString());
    expect(codeOf(Buffer.from(JSON.stringify(document)))).toBe("read");
    expect(codeOf(Buffer.from(JSON.stringify(document, undefined, 1)))).toBe("INTEGRITY");
  });

  test("of a later version is another matter than a damaged one", () => {
    const { checksum: _checksum, ...rest } = JSON.parse(mirrorFileOf(images).toString()) as {
      checksum: string;
    };
    const later = { ...rest, version: 3, news: true };
    const seal = (document: object): Buffer =>
      Buffer.from(JSON.stringify({ ...document, checksum: digestOf(Buffer.from(JSON.stringify(document))) }));
    expect(codeOf(seal(later))).toBe("BUNDLE");
    expect(() => readMirrorFile(seal(later))).toThrow("it has format version 3");
    expect(codeOf(Buffer.from(seal(later).toString().replace('"news":true', '"news":null')))).toBe(
      "INTEGRITY",
    );
  });
});
