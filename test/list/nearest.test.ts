import { describe, expect, it } from "vitest";
import { nearest } from "../../src/list/nearest.ts";

const keys = ["version", "defaults", "registries", "images", "plainHttp", "caFile", "as"];

describe("nearest", () => {
  it.each([
    ["image", "images"],
    ["Images", "images"],
    ["imgaes", "images"],
    ["registry", "registries"],
    ["plain-http", "plainHttp"],
    ["plain_HTTP", "plainHttp"],
    ["ca-file", "caFile"],
    ["verison", "version"],
  ])("finds %s as %s", (word, key) => expect(nearest(word, keys)).toBe(key));

  it.each(["", "x", "kind", "apiVersion", "metadata", "tag", "services", "immeasurable"])(
    "finds nothing for %j",
    (word) => {
      expect(nearest(word, keys)).toBeUndefined();
    },
  );

  it("prefers the nearest of several", () => {
    expect(nearest("tags", ["tabs", "tagsy", "tags"])).toBe("tags");
  });
});
