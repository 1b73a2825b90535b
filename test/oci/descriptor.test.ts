import { describe, expect, it } from "vitest";
import { bareDescriptor, Descriptor } from "../../src/oci/descriptor.ts";

const digest = `sha256:${"0".repeat(64)}`;
const least = { mediaType: "application/octet-stream", digest, size: 3 };

describe("Descriptor", () => {
  it("takes the three fields that identify content, and those that describe it", () => {
    const full = {
      ...least,
      platform: { os: "linux", architecture: "arm", variant: "v7", "os.version": "1" },
      artifactType: "application/x",
      urls: ["https://example.com/a"],
      annotations: { a: "b" },
    };
    expect(Descriptor.parse(least)).toEqual(least);
    expect(Descriptor.parse(full)).toEqual(full);
  });

  it("takes annotations that are null, as Go writes empty ones", () => {
    expect(Descriptor.parse({ ...least, annotations: null }).annotations).toBeNull();
  });

  it.each([
    ["a negative size", { size: -1 }],
    ["a fraction as size", { size: 1.5 }],
    ["a size that JavaScript cannot count", { size: Number.MAX_SAFE_INTEGER + 1 }],
    ["a size as text", { size: "3" }],
    ["no size", { size: undefined }],
    ["a digest with a path in it", { digest: "sha256:../../etc/passwd" }],
    ["no digest", { digest: undefined }],
    ["no media type", { mediaType: undefined }],
    ["an endless media type", { mediaType: "x".repeat(256) }],
    ["a platform without an architecture", { platform: { os: "linux" } }],
  ])("refuses %s", (_name, change) => {
    expect(Descriptor.safeParse({ ...least, ...change }).success).toBe(false);
  });

  it("takes the largest size that JavaScript counts exactly", () => {
    expect(Descriptor.parse({ ...least, size: Number.MAX_SAFE_INTEGER }).size).toBe(2 ** 53 - 1);
  });
});

describe("bareDescriptor", () => {
  it("leaves the identity only", () => {
    const full = Descriptor.parse({
      ...least,
      annotations: { a: "b" },
      platform: { os: "a", architecture: "b" },
    });
    expect(bareDescriptor(full)).toEqual(least);
  });
});
