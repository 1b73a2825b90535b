import { expect, test } from "vitest";
import type { BundleBase } from "../../src/bundle/delta.ts";
import { makeMetadata, readMirrorFile } from "../../src/bundle/metadata.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { codeOf } from "./support.ts";

const digest = (name: string) => digestOf(Buffer.from(name));
const images = [
  {
    source: "docker.io/library/nginx:1.27",
    target: { repository: "library/nginx", tag: "1.27" },
    root: { mediaType: mediaTypes.ociManifest, digest: digest("root"), size: 42 },
  },
];
const contents = { manifests: [{ digest: digest("root"), size: 42 }], configs: [], layers: [] };
const base: BundleBase = {
  sources: [
    { kind: "bundle", name: "october.tar", fingerprint: digest("october") },
    {
      kind: "receipt",
      name: "r.json",
      fingerprint: digest("receipt"),
      registry: "registry.internal:5000/far",
    },
  ],
  blobs: [
    {
      digest: digest("layer"),
      size: 7,
      neededBy: ["library/nginx"],
      heldBy: [
        { source: 0, repositories: ["library/nginx"] },
        { source: 1, repositories: ["far/library/nginx", "far/tools"] },
      ],
    },
  ],
};

const mirrorFile = (of?: BundleBase): Buffer =>
  makeMetadata(images, contents, of).at(-1)?.bytes ?? Buffer.alloc(0);

test("a delta says in mirror.json what it leans on, as version 2", () => {
  const bytes = mirrorFile(base);
  expect(JSON.parse(bytes.toString())).toMatchObject({ version: 2, base });
  expect(readMirrorFile(bytes).base).toEqual(base);
});

test("a bundle that is whole stays version 1", () => {
  const document = JSON.parse(mirrorFile().toString()) as object;
  expect(document).toMatchObject({ version: 1 });
  expect(document).not.toHaveProperty("base");
  expect(readMirrorFile(mirrorFile()).base).toBeUndefined();
});

test("what a delta leans on is proved with the rest of mirror.json", () => {
  const bytes = mirrorFile(base);
  const accepted: number[] = [];
  for (let bit = 0; bit < bytes.byteLength * 8; bit += 1) {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    if (codeOf(copy) !== "INTEGRITY") accepted.push(bit);
  }
  expect(accepted).toEqual([]);
});
