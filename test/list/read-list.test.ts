import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AppError } from "../../src/errors.ts";
import type { ImageList } from "../../src/list/image-list.ts";
import { maxListBytes, readList } from "../../src/list/read-list.ts";
import { formatPlatform } from "../../src/oci/platform.ts";
import { formatReference } from "../../src/oci/reference.ts";
import { images, problemCases } from "./problem-cases.ts";

const hex = "0123456789abcdef".repeat(4);
const read = (text: string): ImageList => readList({ name: "l.yaml", text });
const names = (list: ImageList): string[] => list.images.map((image) => formatReference(image.reference));

function failure(text: string): AppError {
  try {
    read(text);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("the list was accepted");
}

describe("a YAML list", () => {
  it("gives references, platforms, names in the target, and places", () => {
    const list = read(
      [
        "version: 1",
        "defaults: {platforms: [linux/amd64, Linux/aarch64]}",
        "images:",
        "  - nginx:1.27",
        `  - image: registry.k8s.io/pause:3.10@sha256:${hex}`,
        "    platforms: [linux/arm/v7]",
        "    as: k8s/pause:3.9",
        "  - {image: ghcr.io/a/b, platforms: [], as: c/d}",
      ].join("\n"),
    );
    expect(names(list)).toEqual([
      "docker.io/library/nginx:1.27",
      `registry.k8s.io/pause:3.10@sha256:${hex}`,
      "ghcr.io/a/b:latest",
    ]);
    expect(list.images.map((image) => image.platforms.map(formatPlatform))).toEqual([
      ["linux/amd64", "linux/arm64"],
      ["linux/arm/v7"],
      [],
    ]);
    expect(list.images.map((image) => image.as)).toEqual([
      undefined,
      { repository: "k8s/pause", tag: "3.9" },
      { repository: "c/d" },
    ]);
    expect(list.images.map((image) => image.place)).toEqual(["l.yaml:4", "l.yaml:5", "l.yaml:8"]);
  });

  it("takes every platform where none is named, and each platform once", () => {
    const list = read(images("  - nginx", "  - {image: redis, platforms: [linux/arm64, linux/aarch64]}"));
    expect(list.images.map((image) => image.platforms.length)).toEqual([0, 1]);
  });

  it("gives the settings of registries, by normalised host and in bytes", () => {
    const list = read(
      [
        "version: 1",
        "registries:",
        "  index.docker.io: {concurrency: 4}",
        "  registry-1.docker.io: {concurrency: 4, chunkSize: 16MiB}",
        "  registry.internal:5000: {plainHttp: true, insecure: false}",
        "  a.example.com: {caFile: ca.pem, chunkSize: 90MB}",
        "  b.example.com: {chunkSize: 5242880}",
        "  c.example.com: {chunkSize: 1.5 GiB}",
        "  registry: {insecure: true}",
        "  d.example.com:",
        "images: [nginx]",
      ].join("\n"),
    );
    expect(Object.fromEntries(list.registries)).toEqual({
      "docker.io": { concurrency: 4, chunkSize: 16 * 1024 * 1024 },
      "registry.internal:5000": { plainHttp: true, insecure: false },
      "a.example.com": { caFile: "ca.pem", chunkSize: 90_000_000 },
      "b.example.com": { chunkSize: 5_242_880 },
      "c.example.com": { chunkSize: 1.5 * 1024 ** 3 },
      registry: { insecure: true },
      "d.example.com": {},
    });
  });

  it("finds caFile from the folder of the list", () => {
    const text =
      "version: 1\nregistries: {a.io: {caFile: certs/ca.pem}, b.io: {caFile: /b.pem}}\nimages: [x]";
    const list = readList({ name: "l.yaml", text, folder: "/etc/lists" });
    expect(list.registries.get("a.io")?.caFile).toBe("/etc/lists/certs/ca.pem");
    expect(list.registries.get("b.io")?.caFile).toBe("/b.pem");
  });

  it("asks once for what is there twice, and again for what differs", () => {
    const twice = images(
      "  - nginx",
      "  - {image: docker.io/library/nginx:latest}",
      "  - {image: nginx, platforms: [linux/arm64, linux/amd64]}",
      "  - {image: nginx, platforms: [linux/amd64, linux/arm64]}",
      "  - {image: nginx, as: other}",
    );
    expect(read(twice).images.map((image) => image.place)).toEqual(["l.yaml:3", "l.yaml:5", "l.yaml:7"]);
  });

  it("may be JSON, with tabs", () => {
    expect(names(read('{\n\t"version": 1,\n\t"images": ["nginx"]\n}\n'))).toEqual([
      "docker.io/library/nginx:latest",
    ]);
  });

  it("may have empty sections, a byte order mark and Windows line ends", () => {
    const text = "\uFEFFversion: 1\r\ndefaults:\r\nregistries:\r\nimages:\r\n  - nginx:1\r\n  - redis:2\r\n";
    const list = read(text);
    expect(names(list)).toEqual(["docker.io/library/nginx:1", "docker.io/library/redis:2"]);
    expect(list.images.map((image) => image.place)).toEqual(["l.yaml:5", "l.yaml:6"]);
    expect(failure(text.replace("redis", "Redis")).message).toMatch(/^l\.yaml:6:5: /);
  });

  it("may share values by anchors, in many images", () => {
    const text = images(
      "  - {image: a, platforms: &some [linux/amd64]}",
      ...Array.from({ length: 500 }, (_, index) => `  - {image: b${index}, platforms: *some}`),
    );
    expect(read(text).images.at(-1)?.platforms.map(formatPlatform)).toEqual(["linux/amd64"]);
  });
});

describe("a problem is told with its place and the way out:", () => {
  it.each(problemCases)("$what", ({ text, message, hint }) => {
    expect(failure(text)).toMatchObject({
      code: "LIST",
      message: `l.yaml:${message}`,
      hint: hint ?? "see manifests.example.yaml for every key and both forms of a list",
    });
  });

  it.each(["", "\n", "# nothing\n\n", "\uFEFF"])("an empty list: %j", (text) => {
    const hint = expect.stringMatching(/^write YAML .*, or plain text with one image reference a line$/);
    expect(failure(text)).toMatchObject({ code: "LIST", message: "l.yaml:1:1: the list is empty", hint });
  });

  it("aliases that multiply", () => {
    const level = (name: string, of: string): string =>
      `${name}: &${name} [${Array(10).fill(`*${of}`).join(", ")}]`;
    const text = [
      "version: 1",
      "a: &a [x]",
      level("b", "a"),
      level("c", "b"),
      level("d", "c"),
      level("e", "d"),
    ];
    const error = failure([...text, level("f", "e"), level("g", "f"), "images: *g"].join("\n"));
    expect(error.message).toBe("l.yaml:1:1: too many aliases: write the values out");
  });

  it("deep nesting", () => {
    expect(failure(`images: ${"[".repeat(50_000)}`).message).toMatch(/nested too deeply/);
  });
});

describe("several problems", () => {
  it("come from one slip too", () => {
    expect(failure("version: 1\nimage: [a]").message.split("\n")).toEqual([
      "l.yaml:1:1: images is missing: expected a list of images",
      'l.yaml:2:1: "image" is not a key of a list (write images)',
    ]);
  });

  it("come in one error, from the top down, each with its hint", () => {
    const error = failure(
      [
        "version: 1",
        "images:",
        "  - Nginx",
        "  - {image: a, platform: []}",
        "  - {image: a, as: B}",
        "extra: 1",
      ].join("\n"),
    );
    expect(error.message.split("\n")).toEqual([
      'l.yaml:3:5: Cannot read image reference "Nginx": the repository must be lower case (write nginx)',
      'l.yaml:4:16: "platform" is not a key of an image (write platforms)',
      'l.yaml:5:20: Cannot read target name "B": "B" is not a repository name (write b)',
      'l.yaml:6:1: "extra" is not a key of a list (its keys are version, defaults, registries, images)',
    ]);
    expect(error.details).toEqual({ problems: 4 });
    expect(error.exitCode).toBe(2);
  });

  it("are shown up to twenty", () => {
    const lines = failure(
      images(...Array.from({ length: 25 }, (_, index) => `  - Bad${index}`)),
    ).message.split("\n");
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toBe("and 5 more");
  });

  it("count once where an alias leads to one of them again", () => {
    expect(failure(images("  - &bad {image: Bad}", "  - *bad")).message).toMatch(/^l\.yaml:3:18: [^\n]*$/);
  });

  it("stay on one line each, whatever the values hold", () => {
    const error = failure(images('  - "a\\nl.yaml:9:9: b\\e[31m\\x9b"', "  - Bad"));
    expect(error.message.split("\n")).toHaveLength(2);
    expect(error.message.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  });
});

describe("a plain list", () => {
  it("has a reference a line, comments and blank lines", () => {
    const list = readList({
      name: "l.txt",
      text: "# head\r\nnginx:1.27\r\n\r\n  ghcr.io/a/b:2 # why\n\tredis\t# tab\nregistry:5000/x # y # z",
    });
    expect(names(list)).toEqual([
      "docker.io/library/nginx:1.27",
      "ghcr.io/a/b:2",
      "docker.io/library/redis:latest",
      "registry:5000/x:latest",
    ]);
    expect(list.images.map((image) => image.place)).toEqual(["l.txt:2", "l.txt:4", "l.txt:5", "l.txt:6"]);
    expect(list.images.every((image) => image.platforms.length === 0)).toBe(true);
    expect(list.registries.size).toBe(0);
  });

  it("may begin with a byte order mark, or with an IPv6 address", () => {
    expect(names(read("\uFEFFnginx\n"))).toEqual(["docker.io/library/nginx:latest"]);
    expect(failure("\uFEFFNginx\n").message).toMatch(/^l\.yaml:1:1: /);
    expect(names(read("[fc00::1]:5000/a\n"))).toEqual(["[fc00::1]:5000/a:latest"]);
  });

  it("tells all its problems with their places", () => {
    expect(failure("nginx\n  Redis:7\nfoo bar\nuser:s3cret@a.io/b\n").message.split("\n")).toEqual([
      'l.yaml:2:3: Cannot read image reference "Redis:7": the repository must be lower case (write redis:7)',
      'l.yaml:3:1: expected one image reference a line, got "foo bar"',
      'l.yaml:4:1: Cannot read image reference "***@a.io/b": it holds a user name (leave it out and log in to the registry)',
    ]);
  });
});

describe("what is neither YAML nor plain", () => {
  it.each([
    ["a bare YAML sequence", "- nginx\n- redis\n"],
    ["a JSON sequence", '["nginx"]'],
    ["a Kubernetes manifest", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - image: nginx\n"],
    ["a page", "<!DOCTYPE html>\n<html>\n</html>\n"],
    ["prose", "These are the images that we use.\n"],
  ])("%s is answered with both forms", (_what, text) => {
    const error = failure(text);
    expect(error.message).toBe("l.yaml:1:1: this is not an image list");
    expect(error.hint).toMatch(
      /^write YAML \(version: 1, .*, or plain text with one image reference a line$/,
    );
  });

  it("is refused as binary, and as too large", () => {
    expect(failure("oci-layout\0\0\0\0").message).toBe("l.yaml:1:1: this is not text");
    expect(failure("nginx\n".repeat(maxListBytes / 6 + 1)).message).toMatch(/larger than 16 MiB/);
  });
});

it("fails with nothing but LIST, whatever the text", () => {
  const piece = fc.constantFrom(
    ..."version: 1|images:|registries:|defaults:|platforms: |image: |as: |tags: |nginx|a.io|- |  |\n|\n  - |{|}|[|]|,|&a |*a|'|\"|#|: |\t|!x |? |%|---\n|null|1|true|\uFEFF|\r\n|__proto__: ".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: piece, maxLength: 60 })),
      (text) => {
        try {
          expect(read(text).images.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect(error).toHaveProperty("code", "LIST");
          expect(error).toHaveProperty("message", expect.stringMatching(/^l\.yaml:[1-9]\d*:[1-9]\d*: /));
        }
      },
    ),
    { numRuns: 3000 },
  );
});

it("takes the example that is shipped, with every key in it", async () => {
  const text = await readFile(new URL("../../manifests.example.yaml", import.meta.url), "utf8");
  expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=./manifests.schema.json");
  const list = read(text);
  expect(new Set([...list.registries.values()].flatMap(Object.keys))).toEqual(
    new Set(["concurrency", "plainHttp", "insecure", "caFile", "chunkSize", "mirrors"]),
  );
  expect(list.images.some((image) => image.as !== undefined)).toBe(true);
  expect(list.images.some((image) => image.platforms.length === 0)).toBe(true);
});
