import { describe, expect, test } from "vitest";
import { bundlePath } from "../../src/cli/bundle-path.ts";
import { findImage, findPlace } from "../../src/cli/place.ts";
import { parseRegistryTarget } from "../../src/cli/requests.ts";

describe("--registry", () => {
  test.each([
    ["registry.internal:5000", "registry.internal:5000", ""],
    ["10.141.241.175:32000", "10.141.241.175:32000", ""],
    ["[::1]:5000/mirror", "[::1]:5000", "mirror"],
    ["localhost/a/b/", "localhost", "a/b"],
  ])("%s is a host with a prefix", (text, host, prefix) => {
    expect(parseRegistryTarget(text)).toEqual({ host, prefix });
  });

  test.each([
    ["https://registry.internal/a", "it begins with https://", "write registry.internal/a"],
    [
      "http://10.0.0.1:5000",
      "it begins with http://",
      "write 10.0.0.1:5000 and add --plain-http 10.0.0.1:5000",
    ],
    ["10.0.0.1:port", '"10.0.0.1:port" is not a host', "HOST[:PORT][/PREFIX]"],
    ["", '"" is not a host', "for example 10.0.0.1:32000"],
    ["/mirror", '"" is not a host', "HOST[:PORT]"],
    ["registry.internal/Mirror", '"Mirror" cannot begin a repository name', "lower-case"],
  ])("%j is refused with the way out", (text, state, hint) => {
    expect(() => parseRegistryTarget(text)).toThrow(
      expect.objectContaining({
        code: "USAGE",
        message: `Cannot use the registry ${JSON.stringify(text)}: ${state}`,
        hint: expect.stringContaining(hint),
      }),
    );
  });
});

describe("--to", () => {
  test("is a file", () => {
    expect(bundlePath("out/bundle.tar")).toBe("out/bundle.tar");
  });

  test.each([
    ["", "name a file: --to bundle.tar"],
    ["out/", "name a file: --to out/bundle.tar"],
  ])("%j is not", (text, hint) => {
    expect(() => bundlePath(text)).toThrow(expect.objectContaining({ code: "USAGE", hint }));
  });
});

describe("what ls and inspect are pointed at", () => {
  test("is a bundle, a registry or a repository", async () => {
    const here = import.meta.filename;
    expect(await findPlace(here)).toEqual({ kind: "bundle", path: here });
    expect(await findPlace("localhost:5000")).toEqual({ kind: "registry", host: "localhost:5000" });
    expect(await findPlace("localhost:5000/")).toEqual({ kind: "registry", host: "localhost:5000" });
    expect(await findPlace("ghcr.io/org/app")).toEqual({
      kind: "repository",
      host: "ghcr.io",
      repository: "org/app",
    });
  });

  test("is a bundle or an image", async () => {
    expect(await findImage(import.meta.filename)).toMatchObject({ kind: "bundle" });
    expect(await findImage("nginx:1")).toMatchObject({
      kind: "image",
      reference: { registry: "docker.io", repository: "library/nginx", tag: "1" },
    });
  });

  test.each(["./absent", "/absent/bundle", "absent.tar"])("is no file: %s", async (text) => {
    await expect(findPlace(text)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(findImage(text)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `Cannot read ${text}: there is no such file`,
    });
  });

  test("is a bundle where it is a path, also if that is a folder: opening it tells", async () => {
    expect(await findPlace(import.meta.dirname)).toEqual({ kind: "bundle", path: import.meta.dirname });
    expect(await findImage(import.meta.dirname)).toEqual({ kind: "bundle", path: import.meta.dirname });
  });

  test("is nothing of these", async () => {
    await expect(findPlace("ghcr.io/Org/app:1")).rejects.toMatchObject({
      code: "USAGE",
      hint: "write bundle.tar, HOST[:PORT] or HOST[:PORT]/REPOSITORY",
    });
  });
});
