import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AppError } from "../../src/errors.ts";
import { formatPlatform, isUnknownPlatform, matchesPlatform, parsePlatform } from "../../src/oci/platform.ts";

describe("parsePlatform", () => {
  it.each([
    ["linux/amd64", "linux/amd64"],
    [" Linux/AMD64 ", "linux/amd64"],
    ["linux/x86_64", "linux/amd64"],
    ["linux/x86-64", "linux/amd64"],
    ["linux/i386", "linux/386"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["linux/arm/v7", "linux/arm/v7"],
    ["linux/arm64/v8", "linux/arm64/v8"],
    ["windows/amd64", "windows/amd64"],
  ])("%s is %s", (text, normal) => expect(formatPlatform(parsePlatform(text))).toBe(normal));

  it.each([
    "",
    "linux",
    "/",
    "linux/",
    "/amd64",
    "linux//v8",
    "a/b/c/d",
    "linux amd64",
    "linux/amd64,linux/arm64",
    "*",
  ])("refuses %j and shows the form", (text) => {
    expect(() => parsePlatform(text)).toThrow(
      expect.objectContaining({ code: "USAGE", hint: "write it like linux/amd64 or linux/arm/v7" }),
    );
  });

  it("throws nothing but USAGE, and reads what it writes", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."ab/ 7".split("")) })),
        (text) => {
          let platform: ReturnType<typeof parsePlatform>;
          try {
            platform = parsePlatform(text);
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
            expect(error).toHaveProperty("code", "USAGE");
            return;
          }
          expect(parsePlatform(formatPlatform(platform))).toEqual(platform);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("matchesPlatform", () => {
  it.each([
    ["linux/amd64", "linux/amd64", true],
    ["linux/amd64", "linux/amd64/v1", true],
    ["linux/amd64/v2", "linux/amd64", false],
    ["linux/arm64", "linux/arm64/v8", true],
    ["linux/arm64/v8", "linux/arm64", true],
    ["linux/arm64/v9", "linux/arm64", false],
    ["linux/arm/v7", "linux/arm", true],
    ["linux/arm/v6", "linux/arm", false],
    ["linux/arm/v6", "linux/arm/v6", true],
    ["linux/amd64", "windows/amd64", false],
    ["linux/amd64", "linux/arm64", false],
    ["linux/riscv64", "linux/riscv64", true],
  ])("%s for a wish of %s: %s", (have, want, matches) => {
    expect(matchesPlatform(parsePlatform(have), parsePlatform(want))).toBe(matches);
  });

  it("knows architectures by their aliases, which an index may hold", () => {
    const want = parsePlatform("linux/arm64");
    expect(matchesPlatform({ os: "linux", architecture: "aarch64" }, want)).toBe(true);
    expect(matchesPlatform({ os: "linux", architecture: "armhf" }, parsePlatform("linux/arm/v7"))).toBe(true);
    expect(matchesPlatform({ os: "linux", architecture: "armel" }, parsePlatform("linux/arm/v7"))).toBe(
      false,
    );
  });

  it("takes an empty variant, which some builders write, for none", () => {
    const have = { os: "linux", architecture: "arm64", variant: "" };
    expect(matchesPlatform(have, parsePlatform("linux/arm64/v8"))).toBe(true);
    expect(formatPlatform(have)).toBe("linux/arm64");
  });
});

it("knows the platform of attestations", () => {
  expect(isUnknownPlatform({ os: "unknown", architecture: "unknown" })).toBe(true);
  expect(isUnknownPlatform({ os: "linux", architecture: "unknown" })).toBe(false);
});
