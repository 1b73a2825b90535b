import { describe, expect, it } from "vitest";
import {
  bareMediaType,
  isForeignLayerType,
  isImageConfigType,
  isImageLayerType,
  isIndexType,
  isManifestOrIndexType,
  isManifestType,
  isSchema1Type,
  isZstdLayerType,
  manifestAccept,
  mediaTypes,
} from "../../src/oci/media-types.ts";

const indexes = [mediaTypes.ociIndex, mediaTypes.dockerList];
const manifests = [mediaTypes.ociManifest, mediaTypes.dockerManifest, mediaTypes.ociArtifact];
const schema1 = [mediaTypes.dockerSchema1, mediaTypes.dockerSchema1Signed];
const configs = [mediaTypes.ociConfig, mediaTypes.dockerConfig];

describe("media types", () => {
  it.each(Object.values(mediaTypes))("sorts %s", (type) => {
    const has = (types: readonly string[]): boolean => types.includes(type);
    expect(isIndexType(type)).toBe(has(indexes));
    expect(isManifestType(type)).toBe(has(manifests));
    expect(isManifestOrIndexType(type)).toBe(has([...indexes, ...manifests]));
    expect(isSchema1Type(type)).toBe(has(schema1));
    expect(isImageConfigType(type)).toBe(has(configs));
    expect(isForeignLayerType(type)).toBe(false);
  });

  it.each([
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar", true],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", false],
    ["application/vnd.oci.image.layer.v1.tar+gzip", false],
  ])("%s is a foreign layer: %s", (type, foreign) => expect(isForeignLayerType(type)).toBe(foreign));

  it.each([
    ["application/vnd.oci.image.layer.v1.tar", true, false],
    ["application/vnd.oci.image.layer.v1.tar+gzip", true, false],
    ["application/vnd.oci.image.layer.v1.tar+zstd", true, true],
    ["application/vnd.oci.image.layer.v1.tar+zstd+encrypted", false, false],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true, true],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", true, false],
    ["application/vnd.docker.image.rootfs.diff.tar.zstd", true, true],
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true, false],
    ["application/vnd.dev.cosign.simplesigning.v1+json", false, false],
    ["application/vnd.wasm.content.layer.v1+wasm", false, false],
    ["application/vnd.in-toto+json", false, false],
  ])("%s is an image layer: %s, in zstd: %s", (type, layer, zstd) =>
    expect([isImageLayerType(type), isZstdLayerType(type)]).toEqual([layer, zstd]),
  );

  it.each([
    ["application/json; charset=utf-8", "application/json"],
    [" Application/VND.oci.image.index.v1+JSON ;q=1", mediaTypes.ociIndex],
    ["", ""],
  ])("reads the header %j", (header, type) => expect(bareMediaType(header)).toBe(type));
});

describe("manifestAccept", () => {
  const types = manifestAccept.split(", ");

  it("asks for indexes before manifests, since some registries take the first type that they have", () => {
    expect(types.indexOf(mediaTypes.ociIndex)).toBe(0);
    expect(types.indexOf(mediaTypes.dockerList)).toBeLessThan(types.indexOf(mediaTypes.dockerManifest));
  });

  it("names every manifest and index, and ends with anything", () => {
    expect(types.toSorted()).toEqual([...indexes, ...manifests, "*/*"].sort());
    expect(types.at(-1)).toBe("*/*");
  });

  it("has no parameters, which GCR misreads, and never asks for schema 1", () => {
    expect(manifestAccept).not.toContain(";");
    for (const type of schema1) expect(types).not.toContain(type);
  });
});
