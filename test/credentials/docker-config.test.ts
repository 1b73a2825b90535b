import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Credential } from "../../src/content/credential.ts";
import { Credentials } from "../../src/credentials/credentials.ts";
import { dockerConfigPath } from "../../src/credentials/places.ts";
import { everythingSaid, failureOf } from "../registry-client/support.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

let folder: TempDir;
beforeEach(async () => {
  folder = await tempDir();
});
afterEach(async () => await folder[Symbol.asyncDispose]());

const auth = (text: string): { readonly auth: string } => ({ auth: Buffer.from(text).toString("base64") });
const env = (): NodeJS.ProcessEnv => ({
  DOCKER_CONFIG: folder.path,
  HOME: folder.path,
  XDG_RUNTIME_DIR: folder.path,
});
const find = async (registry: string, repository?: string): Promise<Credential | undefined> =>
  await new Credentials({ env: env() }).finder(registry)(repository);
const write = async (text: string): Promise<void> => await writeFile(folder.join("config.json"), text);
const look = async (
  registry: string,
  auths: Record<string, unknown>,
  repository?: string,
): Promise<Credential | undefined> => {
  await write(JSON.stringify({ auths }));
  return await find(registry, repository);
};

describe("where the file is", () => {
  test("in $DOCKER_CONFIG, otherwise in the home folder", () => {
    expect(dockerConfigPath({ DOCKER_CONFIG: "/etc/d", HOME: "/home/ada" })).toBe("/etc/d/config.json");
    expect(dockerConfigPath({ DOCKER_CONFIG: "", HOME: "/home/ada" })).toBe("/home/ada/.docker/config.json");
    expect(dockerConfigPath({ HOME: "/home/ada" })).toBe("/home/ada/.docker/config.json");
  });

  test("no file is no credential", async () => {
    expect(await find("registry.example")).toBeUndefined();
  });

  test("a file that cannot be read is an error that names it", async () => {
    await mkdir(folder.join("config.json"));
    const error = await failureOf(find("registry.example"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(folder.join("config.json"));
    expect(error.message).toContain("EISDIR");
  });
});

describe("keys", () => {
  test.each([
    "reg.example:5000",
    "https://reg.example:5000",
    "http://reg.example:5000",
    "https://reg.example:5000/v1/",
    "https://reg.example:5000/v2/",
    "reg.example:5000/v2/",
    "reg.example:5000/",
  ])("%s is reg.example:5000", async (key) => {
    const found = await look("reg.example:5000", { "other.example": auth("eve:x"), [key]: auth("ada:pw") });
    expect(found).toMatchObject({ username: "ada", password: "pw" });
    expect(found?.origin).toContain(key);
    expect(found?.origin).toContain("config.json");
  });

  test.each([
    "reg.example",
    "reg.example:5001",
    "sub.reg.example:5000",
    "reg.example:50000",
    "eg.example:5000",
  ])("%s is another registry", async (key) => {
    expect(await look("reg.example:5000", { [key]: auth("ada:pw") })).toBeUndefined();
  });

  test("the exact one comes first", async () => {
    const found = await look("reg.example", {
      "https://reg.example/v1/": auth("old:x"),
      "reg.example": auth("new:y"),
    });
    expect(found?.username).toBe("new");
  });

  test("an empty entry means to look on", async () => {
    const found = await look("reg.example", {
      "reg.example": {},
      "http://reg.example": null,
      "https://reg.example/v1/": auth("ada:pw"),
    });
    expect(found?.username).toBe("ada");
    expect(await look("reg.example", { "reg.example": {} })).toBeUndefined();
  });

  test.each(["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"])(
    "%s is Docker Hub",
    async (key) => {
      expect(await look("docker.io", { [key]: auth("ada:pw") })).toMatchObject({ username: "ada" });
    },
  );

  test("Docker's own key for the Hub wins over its other names", async () => {
    const found = await look("docker.io", {
      "registry-1.docker.io": auth("four:x"),
      "docker.io": auth("three:x"),
      "https://index.docker.io/v1/": auth("one:x"),
    });
    expect(found?.username).toBe("one");
  });

  test("Docker Hub's are nobody else's", async () => {
    expect(await look("ghcr.io", { "https://index.docker.io/v1/": auth("ada:pw") })).toBeUndefined();
  });
});

describe("keys with a path", () => {
  const auths = {
    "reg.example": auth("host:pw"),
    "reg.example/team": auth("team:pw"),
    "https://reg.example/team/app/": auth("app:pw"),
    "docker.io/library": auth("library:pw"),
  };

  test.each([
    ["team/app/part", "app"],
    ["team/app", "app"],
    ["team/other", "team"],
    ["teams/app", "host"],
    ["team", "team"],
    [undefined, "host"],
  ])("%s is %s's", async (repository, username) => {
    expect((await look("reg.example", auths, repository))?.username).toBe(username);
  });

  test("hold for Docker Hub under every name, and not for the rest of the registry", async () => {
    expect((await look("docker.io", auths, "library/nginx"))?.username).toBe("library");
    expect(await look("docker.io", auths, "bitnami/nginx")).toBeUndefined();
    expect(await look("reg.example", { "reg.example/team": auth("team:pw") }, "other")).toBeUndefined();
  });

  test.each([
    ["*.example.com", "reg.example.com", "a", true],
    ["reg*.example.com", "reg1.example.com", "a", true],
    ["*.example.com:5000", "reg.example.com:5000", "a", true],
    ["https://*.example.com/team", "reg.example.com", "team/app", true],
    ["*.example.com/team", "reg.example.com", "teams/app", false],
    ["*.example.com/team", "reg.example.com", undefined, false],
    ["*.example.com", "example.com", "a", false],
    ["*.example.com", "a.reg.example.com", "a", false],
    ["*.example.com", "reg.example.com:5000", "a", false],
    ["*.example.com", "reg.example-com", "a", false],
    ["*", "reg.example.com", "a", false],
  ])("%s and %s/%s (Kubernetes): %s", async (key, registry, repository, isFound) => {
    const found = await look(registry, { [key]: auth("ada:pw") }, repository);
    expect(found?.username).toBe(isFound ? "ada" : undefined);
    const own = await look(registry, { [key]: auth("ada:pw"), [registry]: auth("own:pw") }, repository);
    expect(own?.username).toBe("own");
  });

  test("that hold nothing lead to the wider ones", async () => {
    const found = await look("reg.example", { ...auths, "reg.example/team": {} }, "team/other");
    expect(found?.username).toBe("host");
  });
});

describe("entries", () => {
  test.each([
    ["a colon in the password", auth("ada:p:w"), { username: "ada", password: "p:w" }],
    ["NULs behind it", auth("ada:pw\0\0"), { username: "ada", password: "pw" }],
    ["UTF-8", auth("ada:pä"), { username: "ada", password: "pä" }],
    ["plain fields", { username: "ada", password: "pw" }, { username: "ada", password: "pw" }],
    ["an identity token", { ...auth("ada:"), identitytoken: "it" }, { identityToken: "it" }],
    ["a registry token", { registrytoken: "rt" }, { registryToken: "rt" }],
  ])("%s", async (_name, entry, expected) => {
    expect(await look("reg.example", { "reg.example": entry })).toMatchObject(expected);
  });

  test.each([
    ["no user", auth(":s3cret-word"), /auth is not the base64 of user:password$/],
    ["no password", auth("ada:"), /there is no password in it$/],
    ["no user name", { password: "s3cret-word" }, /there is no user name in it$/],
    ["no colon", auth("s3cret-word"), /auth is not the base64 of user:password$/],
    ["no base64", { auth: "ada:s3cret-word" }, /auth is not the base64 of user:password$/],
    ["a list", { auth: ["s3cret-word"] }, /auth is not as Docker writes it$/],
  ])("one with %s fails with its file and key, and without its content", async (_name, entry, message) => {
    const error = await failureOf(look("reg.example", { "reg.example": entry, "other.example": {} }));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(`in ${folder.join("config.json")} (key reg.example): `);
    expect(error.message).toMatch(message);
    expect(error.hint).toContain("mirror login");
    expect(everythingSaid(error)).not.toContain("s3cret-word");
    const encoded = "auth" in entry && typeof entry.auth === "string" ? entry.auth : "s3cret";
    expect(everythingSaid(error)).not.toContain(encoded);
    // Another registry's credentials are nobody's business.
    expect(await find("third.example")).toBeUndefined();
  });

  test.each([
    ["null", null],
    ["an empty auth", { auth: "" }],
  ])("%s is no credential", async (_name, entry) => {
    expect(await look("reg.example", { "reg.example": entry })).toBeUndefined();
  });

  test("no auths at all is no credential", async () => {
    await write("{}");
    expect(await find("reg.example")).toBeUndefined();
  });
});

describe("a broken file", () => {
  const secret = Buffer.from("ada:s3cret-word").toString("base64");

  test.each([
    `{"auths":{"reg.example":{"auth":"${secret}"}}`,
    `{"auths":{"reg.example":{"auth":["${secret}"]}}}`,
    `{"auths":{"reg.example":"${secret}"}}`,
    `{"auths":["${secret}"]}`,
    `"${secret}"`,
  ])("fails with its path and without its content: %.20s", async (text) => {
    await write(text);
    const error = await failureOf(find("reg.example"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(folder.join("config.json"));
    expect(everythingSaid(error)).not.toContain(secret);
    expect(everythingSaid(error)).not.toContain("s3cret");
  });
});
