import { describe, expect, test } from "vitest";
import { isAppError } from "../../src/errors.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { defaultNameTemplate, refuseCollisions, targetName } from "../../src/sync/naming.ts";

const named = (
  reference: string,
  options: { template?: string; prefix?: string; as?: { repository: string; tag?: string } } = {},
): string => {
  const { repository, tag } = targetName(parseReference(reference), {
    template: options.template ?? defaultNameTemplate,
    prefix: options.prefix ?? "",
    as: options.as,
  });
  return tag === undefined ? repository : `${repository}:${tag}`;
};
const digest = `sha256:${"ab".repeat(32)}`;

describe("the name of an image in the target", () => {
  test("is its repository without the host, as containerd asks a mirror for it", () => {
    expect(named("nginx:1.27")).toBe("library/nginx:1.27");
    expect(named("ghcr.io/org/app:v1")).toBe("org/app:v1");
    expect(named("10.0.0.1:5000/a/b/c:1")).toBe("a/b/c:1");
  });

  test("keeps the tag of a reference that also has a digest, and has none for a bare digest", () => {
    expect(named(`ghcr.io/org/app:v1@${digest}`)).toBe("org/app:v1");
    expect(named(`ghcr.io/org/app@${digest}`)).toBe("org/app");
  });

  test("begins with the prefix, whatever it is made of", () => {
    expect(named("nginx:1", { prefix: "mirror/eu" })).toBe("mirror/eu/library/nginx:1");
    expect(named("nginx:1", { prefix: "mirror", as: { repository: "web", tag: "2" } })).toBe("mirror/web:2");
  });

  test("is what the list says, with the source's tag where it says none", () => {
    expect(named("nginx:1", { as: { repository: "web/server" } })).toBe("web/server:1");
    expect(named("nginx:1", { as: { repository: "web", tag: "2" }, template: "x/{repository}" })).toBe(
      "web:2",
    );
  });

  test("is made of the template", () => {
    expect(named("nginx:1", { template: "{registry}/{repository}" })).toBe("docker.io/library/nginx:1");
    expect(named("localhost:5000/a:1", { template: "{registry}/{repository}" })).toBe("localhost-5000/a:1");
    expect(named("[::1]:5000/a:1", { template: "{registry}/{repository}" })).toBe("1-5000/a:1");
    expect(named("nginx:1", { template: "all/of/it" })).toBe("all/of/it:1");
  });

  test.each([
    ["{host}/{repository}", "there is no {host}"],
    ["Mirror/{repository}", '"Mirror/library/nginx" is not a repository name'],
    ["/{repository}", '"/library/nginx" is not a repository name'],
    ["", '"" is not a repository name'],
  ])("cannot be made of %j", (template, message) => {
    expect(() => named("nginx:1", { template })).toThrow(
      expect.objectContaining({
        code: "USAGE",
        message: expect.stringContaining(message),
        hint: expect.stringContaining("{registry} and {repository}"),
      }),
    );
  });
});

describe("two images under one name", () => {
  const image = (source: string, repository: string, root: string, tag?: string) => ({
    source,
    target: { repository, ...(tag === undefined ? {} : { tag }) },
    root: { digest: root },
  });

  test("are refused, with both of them, the name and the way out", () => {
    const images = [image("docker.io/a/b:1", "a/b", "x", "1"), image("ghcr.io/a/b:1", "a/b", "y", "1")];
    expect(() => refuseCollisions(images)).toThrow(
      expect.objectContaining({
        code: "CONFLICT",
        message: "Cannot put both docker.io/a/b:1 and ghcr.io/a/b:1 in the target: each would be a/b:1",
        hint: expect.stringMatching(/as:.*--name/),
      }),
    );
  });

  test("are none where they are the same, differ in the tag, or have none", () => {
    const images = [
      image("docker.io/a/b:1", "a/b", "x", "1"),
      image("ghcr.io/a/b:1", "a/b", "x", "1"),
      image("docker.io/a/b:2", "a/b", "y", "2"),
      image("docker.io/a/b@y", "a/b", "y"),
      image("docker.io/a/b@z", "a/b", "z"),
    ];
    expect(() => refuseCollisions(images)).not.toThrow();
  });

  test("are found behind one that is the same", () => {
    const images = ["x", "x", "y"].map((root, at) => image(`host-${at}.io/a:1`, "a", root, "1"));
    const collide = (): unknown => {
      try {
        refuseCollisions(images);
      } catch (error) {
        return isAppError(error, "CONFLICT") ? error.message : error;
      }
      return undefined;
    };
    expect(collide()).toContain("host-2.io/a:1");
  });
});
