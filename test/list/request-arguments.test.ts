import { describe, expect, it } from "vitest";
import { requestsFromArguments } from "../../src/list/request-arguments.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { parseReference } from "../../src/oci/reference.ts";

describe("requestsFromArguments", () => {
  it("asks for every image once, on the wanted platforms", () => {
    const amd64 = parsePlatform("linux/amd64");
    expect(requestsFromArguments(["nginx", "ghcr.io/a/b:1", "docker.io/nginx"], [amd64, amd64])).toEqual([
      { reference: parseReference("nginx"), platforms: [amd64], place: "command line" },
      { reference: parseReference("ghcr.io/a/b:1"), platforms: [amd64], place: "command line" },
    ]);
  });

  it("asks for every platform if none is named", () => {
    expect(requestsFromArguments(["nginx"], []).map((request) => request.platforms)).toEqual([[]]);
    expect(requestsFromArguments([], [])).toEqual([]);
  });

  it("refuses what is no reference", () => {
    expect(() => requestsFromArguments(["nginx", "Nginx"], [])).toThrow(
      expect.objectContaining({ code: "REFERENCE", hint: "write nginx" }),
    );
  });

  it.each(["manifests.yaml", "lists/all.yml", "images.txt", "list.json"])("takes %s for a list", (text) => {
    expect(() => requestsFromArguments([text], [])).toThrow(
      expect.objectContaining({
        code: "USAGE",
        hint: `write -f ${text}; if it is an image, write its tag too`,
      }),
    );
  });

  it("takes the same name with a tag for an image", () => {
    expect(requestsFromArguments(["manifests.yaml:1"], [])).toHaveLength(1);
  });
});
