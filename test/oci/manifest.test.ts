import { describe, expect, it } from "vitest";
import { AppError, type ErrorCode } from "../../src/errors.ts";
import { parseManifest, successors } from "../../src/oci/manifest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";

const descriptor = (fill: string, mediaType = "application/x") => ({
  mediaType,
  digest: `sha256:${fill.repeat(64)}`,
  size: 1,
});
const config = descriptor("c", mediaTypes.ociConfig);
const layers = [descriptor("1"), descriptor("2")];
const children = [descriptor("a", mediaTypes.ociManifest), descriptor("b", mediaTypes.ociManifest)];
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers };
const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: children };

const parse = (document: unknown, contentType = "") =>
  parseManifest(Buffer.from(JSON.stringify(document)), contentType, "the image");

function failure(act: () => unknown): AppError {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("parseManifest", () => {
  it("reads an image and what must be there before it", () => {
    const parsed = parse(image);
    expect(parsed).toMatchObject({ kind: "manifest", mediaType: mediaTypes.ociManifest, config, layers });
    expect(successors(parsed)).toEqual([config, ...layers]);
  });

  it("reads an index and its children in order", () => {
    const parsed = parse(index);
    expect(parsed).toMatchObject({ kind: "index", mediaType: mediaTypes.ociIndex });
    expect(successors(parsed)).toEqual(children);
  });

  it("reads Docker's list and manifest", () => {
    expect(parse({ ...index, mediaType: mediaTypes.dockerList })).toMatchObject({ kind: "index" });
    expect(parse({ ...image, mediaType: mediaTypes.dockerManifest })).toMatchObject({ kind: "manifest" });
  });

  it("reads an artifact manifest, which has blobs and no config", () => {
    const parsed = parse({ mediaType: mediaTypes.ociArtifact, artifactType: "application/y", blobs: layers });
    expect(parsed).toMatchObject({ kind: "manifest", layers, artifactType: "application/y" });
    expect(successors(parsed)).toEqual(layers);
    expect(successors(parse({ mediaType: mediaTypes.ociArtifact }))).toEqual([]);
  });

  it("reads an artifact with the empty config", () => {
    const empty = descriptor("e", mediaTypes.ociEmpty);
    const parsed = parse({ ...image, config: empty, artifactType: "application/y" });
    expect(parsed).toMatchObject({ artifactType: "application/y" });
    expect(successors(parsed)).toEqual([empty, ...layers]);
  });

  it("keeps the subject", () => {
    const subject = descriptor("5", mediaTypes.ociManifest);
    expect(parse({ ...image, subject }).subject).toEqual(subject);
    expect(parse({ ...index, subject }).subject).toEqual(subject);
    expect(parse({ mediaType: mediaTypes.ociArtifact, subject }).subject).toEqual(subject);
    expect(parse({ ...image, subject: null }).subject).toBeUndefined();
  });

  it("takes an empty index, and layers and annotations that are null", () => {
    expect(successors(parse({ ...index, manifests: [] }))).toEqual([]);
    expect(successors(parse({ ...image, layers: null, annotations: null }))).toEqual([config]);
  });

  it("ignores fields and media types that it does not know", () => {
    const unknown = descriptor("f", "application/vnd.example.new+thing");
    expect(successors(parse({ ...index, manifests: [unknown], future: { x: 1 } }))).toEqual([unknown]);
  });
});

describe("the type of a manifest", () => {
  it("is what the document says, whatever the header says", () => {
    expect(parse(image, "application/vnd.oci.image.index.v1+json").mediaType).toBe(mediaTypes.ociManifest);
    expect(parse(image, "text/plain").mediaType).toBe(mediaTypes.ociManifest);
  });

  it("is that of the header where the document has none", () => {
    const { mediaType: _, ...bare } = image;
    expect(parse(bare, `${mediaTypes.dockerManifest}; charset=utf-8`).mediaType).toBe(
      mediaTypes.dockerManifest,
    );
  });

  it("follows from the fields where neither helps", () => {
    expect(parse({ manifests: children }, "application/json").mediaType).toBe(mediaTypes.ociIndex);
    expect(parse({ config, layers }, "").mediaType).toBe(mediaTypes.ociManifest);
  });
});

describe("parseManifest refuses", () => {
  const cases: readonly [string, ErrorCode, unknown, string?][] = [
    ["an index that is an image too", "INTEGRITY", { ...index, layers }],
    ["an index with a config", "INTEGRITY", { ...index, config }],
    ["an image with children", "INTEGRITY", { ...image, manifests: children }],
    ["what has no known field", "INTEGRITY", { errors: [] }, "application/json"],
    ["an image without config", "INTEGRITY", { mediaType: mediaTypes.ociManifest, layers }],
    ["an index without children", "INTEGRITY", { mediaType: mediaTypes.ociIndex }],
    ["a bad digest", "INTEGRITY", { ...image, config: { ...config, digest: "sha256:0" } }],
    ["a bad size", "INTEGRITY", { ...image, layers: [{ ...descriptor("1"), size: -1 }] }],
    ["a list", "INTEGRITY", [image]],
    ["null", "INTEGRITY", null],
    ["schema 1 by its type", "REGISTRY", { mediaType: mediaTypes.dockerSchema1 }],
    ["schema 1 by its header", "REGISTRY", { name: "x" }, mediaTypes.dockerSchema1Signed],
    ["schema 1 by its version", "REGISTRY", { schemaVersion: 1, fsLayers: [] }],
    ["too many children", "INTEGRITY", { ...index, manifests: Array(10_001).fill(descriptor("a")) }],
  ];

  it.each(cases)("%s", (_name, code, document, contentType) => {
    const error = failure(() => parse(document, contentType));
    expect(error.code).toBe(code);
    expect(error.message).toContain("the image");
  });

  it.each([
    ["a page", Buffer.from("<html>Sign in</html>")],
    ["nothing", Buffer.alloc(0)],
    ["half of a manifest", Buffer.from(JSON.stringify(image).slice(0, -10))],
    ["what is not UTF-8", Buffer.from([0x7b, 0xff, 0x7d])],
  ])("%s", (_name, bytes) => {
    const error = failure(() => parseManifest(bytes, mediaTypes.ociManifest, "the image"));
    expect(error).toMatchObject({
      code: "INTEGRITY",
      message: "Cannot read manifest the image: it is not JSON",
    });
  });

  it("says where the bad field is", () => {
    const bad = { ...image, layers: [descriptor("1"), { ...descriptor("2"), digest: "md5:0" }] };
    expect(failure(() => parse(bad)).message).toMatch(/bad field at layers\.1\.digest: expected sha256:/);
  });
});
