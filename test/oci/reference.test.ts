import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { AppError } from "../../src/errors.ts";
import {
  formatReference,
  isRegistryHost,
  isRepository,
  isTag,
  parseReference,
  tagOrDigest,
} from "../../src/oci/reference.ts";
import { accepted, rejected } from "./reference-vectors.ts";

function failure(input: string): AppError {
  try {
    parseReference(input);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(input)} was accepted`);
}

const hex = "0123456789abcdef".repeat(4);

describe("accepts", () => {
  test.each(accepted)("$input", ({ input, normal }) => {
    expect(formatReference(parseReference(input))).toBe(normal);
  });
});

describe("rejects", () => {
  test.each(rejected.map((input) => ({ input })))("$input", ({ input }) => {
    expect(failure(input).code).toBe("REFERENCE");
  });
});

it("has every vector of distribution/reference", () => {
  expect(accepted).toHaveLength(56);
  expect(rejected).toHaveLength(73);
});

describe("parts", () => {
  it("keeps tag and digest, and fetches by digest", () => {
    const reference = parseReference(`ghcr.io/o/r:v1@sha256:${hex}`);
    expect(reference).toEqual({ registry: "ghcr.io", repository: "o/r", tag: "v1", digest: `sha256:${hex}` });
    expect(tagOrDigest(reference)).toBe(`sha256:${hex}`);
  });

  it("adds latest only where there is neither tag nor digest", () => {
    expect(tagOrDigest(parseReference("nginx"))).toBe("latest");
    expect(parseReference(`nginx@sha256:${hex}`).tag).toBeUndefined();
  });

  it("has nothing to fetch by without tag and digest", () => {
    expect(() => tagOrDigest({ registry: "ghcr.io", repository: "o/r" })).toThrow(/neither tag nor digest/);
  });
});

describe("messages", () => {
  it.each([
    ["https://ghcr.io/o/r", "leave https:// out"],
    ["docker://ubuntu", "leave docker:// out"],
    ["ghcr.io/O/r:1", "write ghcr.io/o/r:1"],
    ["Ubuntu", "write ubuntu"],
    ["docker/Docker", "write docker/docker"],
    ["user:pw@ex.com/x", "leave it out and log in to the registry"],
    [hex, "write the name of the image, or name@sha256:<id>"],
    ["ubuntu@sha256:abc", "a digest is sha256:<64 hex> or sha512:<128 hex>"],
  ])("%s: %s", (input, hint) => {
    expect(failure(input).hint).toBe(hint);
  });

  it("names the case of a digest", () => {
    expect(failure(`ubuntu@SHA256:${hex}`).message).toMatch(/digest must be lower case/);
  });

  it.each([
    "user:s3cret@ex.com/x",
    "https://user:s3cret@ex.com/x",
    "user:p@s3cret@ex.com/x",
    `user:s3cret@ex.com/${"x".repeat(2000)}`,
  ])("never repeats a password: %s", (input) => {
    const error = failure(input);
    expect(`${error.message} ${error.hint}`).not.toContain("s3cret");
    expect(error.message).toContain("***@ex.com/");
  });

  it("is short for an input that is very long", () => {
    expect(failure("x".repeat(100_000)).message.length).toBeLessThan(1200);
  });
});

describe("properties", () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}$/);
  const host = fc.oneof(
    fc.constantFrom(
      "docker.io",
      "index.docker.io",
      "registry-1.docker.io",
      "localhost",
      "[::1]:5000",
      "Host",
    ),
    fc.stringMatching(/^[A-Za-z0-9]{1,5}(?:-[a-z0-9]{1,3})?\.[a-z]{2,3}(?::[0-9]{1,5})?$/),
  );
  const valid = fc
    .record({
      host: fc.option(host),
      path: fc.array(component, { minLength: 1, maxLength: 4 }),
      tag: fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)),
      digest: fc.option(fc.stringMatching(/^sha256:[0-9a-f]{64}$/)),
    })
    // A first component with a dot is a host, and a host has no underscore.
    .filter(
      ({ host: domain, path }) => domain !== null || path.length === 1 || !/\..*_|_.*\./.test(path[0] ?? ""),
    )
    .map(({ host: domain, path, tag, digest }) => {
      const name = domain === null ? path.join("/") : `${domain}/${path.join("/")}`;
      return `${name}${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;
    });
  const nearly = fc.string({
    unit: fc.constantFrom(..."aZ0.:/@_-[]% \n".split(""), "sha256:", "docker.io/", hex),
  });

  it("reads what it writes as the same reference", () => {
    fc.assert(
      fc.property(valid, (input) => {
        const reference = parseReference(input);
        const text = formatReference(reference);
        expect(parseReference(text)).toEqual(reference);
        expect(formatReference(parseReference(text))).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });

  it("throws nothing but REFERENCE, and returns only what its own checks accept", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), nearly), (input) => {
        let reference: ReturnType<typeof parseReference>;
        try {
          reference = parseReference(input);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect(error).toHaveProperty("code", "REFERENCE");
          return;
        }
        expect(isRepository(reference.repository)).toBe(true);
        expect(reference.tag === undefined || isTag(reference.tag)).toBe(true);
        expect(parseReference(formatReference(reference))).toEqual(reference);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("isRegistryHost", () => {
  it.each([
    "docker.io",
    "localhost",
    "registry",
    "10.141.241.175:32000",
    "[::1]",
    "[fc00::1]:5000",
    "a:65535",
  ])("takes %s", (text) => expect(isRegistryHost(text)).toBe(true));

  it.each([
    "",
    "a:0",
    "a:65536",
    "a:",
    "https://a",
    "a/b",
    "a_b.io",
    "fc00::1",
    "[::1]:0",
    "a.io\n",
    "u@a.io",
  ])("refuses %j", (text) => expect(isRegistryHost(text)).toBe(false));
});

describe("isTag and isRepository", () => {
  it("hold the limits of length", () => {
    expect([isTag("t".repeat(128)), isTag("t".repeat(129))]).toEqual([true, false]);
    expect([isRepository("r".repeat(255)), isRepository("r".repeat(256))]).toEqual([true, false]);
  });

  it.each(["", ".a", "-a", "a/b", "a b", "../x", "a\n"])("%j is no tag", (text) => {
    expect(isTag(text)).toBe(false);
  });

  it.each(["", "A", "a//b", "/a", "a/", "..", "a/../b", "a:b"])("%j is no repository", (text) => {
    expect(isRepository(text)).toBe(false);
  });
});
