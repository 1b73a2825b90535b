import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Credential } from "../../src/content/credential.ts";
import { dockerConfigPath, dockerCredential } from "../../src/registry/credentials.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { everythingSaid, failureOf } from "./support.ts";

let folder: TempDir;
beforeEach(async () => {
  folder = await tempDir();
});
afterEach(async () => await folder[Symbol.asyncDispose]());

const auth = (text: string): { readonly auth: string } => ({ auth: Buffer.from(text).toString("base64") });
const env = (): NodeJS.ProcessEnv => ({ DOCKER_CONFIG: folder.path });
const write = async (text: string): Promise<void> => await writeFile(folder.join("config.json"), text);
const look = async (registry: string, auths: Record<string, unknown>): Promise<Credential | undefined> => {
  await write(JSON.stringify({ auths }));
  return await dockerCredential(registry, env());
};

describe("where the file is", () => {
  test("in $DOCKER_CONFIG, otherwise in the home folder", () => {
    expect(dockerConfigPath({ DOCKER_CONFIG: "/etc/d", HOME: "/home/ada" })).toBe("/etc/d/config.json");
    expect(dockerConfigPath({ DOCKER_CONFIG: "", HOME: "/home/ada" })).toBe("/home/ada/.docker/config.json");
    expect(dockerConfigPath({ HOME: "/home/ada" })).toBe("/home/ada/.docker/config.json");
  });

  test("no file is no credential", async () => {
    expect(await dockerCredential("registry.example", env())).toBeUndefined();
  });

  test("a file that cannot be read is an error that names it", async () => {
    await mkdir(folder.join("config.json"));
    const error = await failureOf(dockerCredential("registry.example", env()));
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
    ["no user", auth(":pw")],
    ["no password", auth("ada:")],
    ["no colon", auth("adapw")],
    ["no base64", { auth: "!!!" }],
    ["null", null],
  ])("%s is no credential", async (_name, entry) => {
    expect(await look("reg.example", { "reg.example": entry })).toBeUndefined();
  });

  test("no auths at all is no credential", async () => {
    await write("{}");
    expect(await dockerCredential("reg.example", env())).toBeUndefined();
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
    "",
  ])("fails with its path and without its content: %.20s", async (text) => {
    await write(text);
    const error = await failureOf(dockerCredential("reg.example", env()));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(folder.join("config.json"));
    expect(everythingSaid(error)).not.toContain(secret);
    expect(everythingSaid(error)).not.toContain("s3cret");
  });
});
