import { describe, expect, it } from "vitest";
import {
  algorithmOf,
  digestOf,
  finishDigest,
  hasherFor,
  hexOf,
  isDigest,
  shortDigest,
} from "../../src/oci/digest.ts";

const bytes = Buffer.from("abc");
// FIPS 180-2, appendices B.1 and C.1.
const sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const sha512 =
  "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

describe("digests", () => {
  it("are those of the standard", () => {
    expect(digestOf(bytes)).toBe(sha256);
    expect(digestOf(bytes, "sha512")).toBe(sha512);
  });

  it("come out the same piece by piece", () => {
    for (const algorithm of ["sha256", "sha512"] as const) {
      const whole = digestOf(bytes, algorithm);
      const hash = hasherFor(whole);
      for (const byte of bytes) hash.update(Uint8Array.of(byte));
      expect(finishDigest(hash, algorithm)).toBe(whole);
    }
  });

  it("fall into their parts", () => {
    const digest = digestOf(bytes, "sha512");
    expect(algorithmOf(digest)).toBe("sha512");
    expect(algorithmOf(digestOf(bytes))).toBe("sha256");
    expect(`sha512:${hexOf(digest)}`).toBe(sha512);
    expect(shortDigest(digestOf(bytes))).toBe("sha256:ba7816bf8f01");
  });

  it.each([sha256, sha512])("takes %s", (text) => expect(isDigest(text)).toBe(true));

  it.each([
    "",
    "sha256:",
    sha256.slice(0, -1),
    `${sha256}0`,
    `${sha256}\n`,
    ` ${sha256}`,
    sha256.toUpperCase(),
    sha256.replace("sha256", "SHA256"),
    sha256.replace("sha256", "sha512"),
    sha512.replace("sha512", "sha256"),
    `sha384:${"0".repeat(96)}`,
    `md5:${"0".repeat(32)}`,
    `sha256:../../${"0".repeat(58)}`,
  ])("refuses %j", (text) => expect(isDigest(text)).toBe(false));
});
