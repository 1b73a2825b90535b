/** Which place a credential is taken from: the order, and what stops the search. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { everythingSaid, failureOf } from "../registry-client/support.ts";
import { auth, type Home, makeHome } from "./support.ts";

let home: Home;
beforeEach(async () => {
  home = await makeHome();
});
afterEach(async () => await home[Symbol.asyncDispose]());

const registry = "my-reg.example:5000";
const config = (user: string): object => ({ auths: { [registry]: auth(`${user}:pw`) } });

describe("the order", () => {
  test("is variables of the host, those of the run, the list, the named file, DOCKER_AUTH_CONFIG, files", async () => {
    await home.write(".dockercfg", { [registry]: auth("dockercfg:pw") });
    await home.write(".config/containers/auth.json", config("config"));
    await home.write("run/containers/auth.json", config("runtime"));
    await home.write(".docker/config.json", config("docker"));
    const authfile = await home.write("auth.json", config("authfile"));
    const podman = await home.write("podman.json", config("podman"));
    const variable: Record<string, string> = { DOCKER_AUTH_CONFIG: JSON.stringify(config("variable")) };
    const general = { MIRROR_USERNAME: "general", MIRROR_PASSWORD: "pw" };
    const own = { MIRROR_USERNAME_MY__REG_EXAMPLE_5000: "own", MIRROR_PASSWORD_MY__REG_EXAMPLE_5000: "pw" };
    const both = { MIRROR_AUTH_MY__REG_EXAMPLE_5000: "both:p:w" };
    const login = { username: "list", password: "pw", place: "manifests.yaml:3:5" };
    const look = async (env: Record<string, string>, more: Parameters<Home["find"]>[1] = {}) => {
      const found = await home.find(registry, { env: home.env(env), ...more });
      return [found?.username, found?.origin.replaceAll(home.dir.path, "~")];
    };
    const all = { ...variable, REGISTRY_AUTH_FILE: podman, ...general, ...own, ...both };
    expect(await look(all, { authfile, login, isOwner: true })).toEqual(["both", Object.keys(both)[0]]);
    const { MIRROR_AUTH_MY__REG_EXAMPLE_5000: _both, ...withoutBoth } = all;
    expect(await look(withoutBoth, { authfile, login, isOwner: true })).toEqual([
      "own",
      Object.keys(own).join(" and "),
    ]);
    const rest = { ...variable, REGISTRY_AUTH_FILE: podman, ...general };
    expect(await look(rest, { authfile, login, isOwner: true })).toEqual([
      "general",
      "MIRROR_USERNAME and MIRROR_PASSWORD",
    ]);
    expect(await look(rest, { authfile, login })).toEqual(["list", "manifests.yaml:3:5"]);
    expect(await look(rest, { authfile })).toEqual(["authfile", `~/auth.json (key ${registry})`]);
    expect(await look(rest)).toEqual(["podman", `~/podman.json (key ${registry})`]);
    expect(await look(variable)).toEqual(["variable", `DOCKER_AUTH_CONFIG (key ${registry})`]);
    expect(await look({})).toEqual(["docker", `~/.docker/config.json (key ${registry})`]);
    await home.write(".docker/config.json", { auths: { [registry]: {} } });
    expect(await look({})).toEqual(["runtime", `~/run/containers/auth.json (key ${registry})`]);
    await home.write("run/containers/auth.json", "");
    expect(await look({})).toEqual(["config", `~/.config/containers/auth.json (key ${registry})`]);
    await home.write(".config/containers/auth.json", {});
    expect(await look({})).toEqual(["dockercfg", `~/.dockercfg (key ${registry})`]);
  });

  test("ends at the named file: no other is read, whether it has something or not", async () => {
    const other = await home.write("other.json", { auths: { "other.example": auth("eve:pw") } });
    await home.write(".docker/config.json", config("docker"));
    expect(await home.find(registry, { authfile: other })).toBeUndefined();
    expect(await home.find(registry, { env: home.env({ REGISTRY_AUTH_FILE: other }) })).toBeUndefined();
    const variable = { DOCKER_AUTH_CONFIG: JSON.stringify(config("variable")) };
    expect((await home.find(registry, { env: home.env(variable), authfile: other }))?.username).toBe(
      "variable",
    );
  });

  test.each(["--authfile", "REGISTRY_AUTH_FILE"])("a file of %s has to be there", async (by) => {
    const path = home.dir.join("absent.json");
    const options =
      by === "--authfile" ? { authfile: path } : { env: home.env({ REGISTRY_AUTH_FILE: path }) };
    const error = await failureOf(home.find(registry, options));
    expect([error.code, error.message]).toEqual(["AUTH", `Cannot read ${path}: there is no such file`]);
    expect(error.hint).toContain(by);
  });
});

describe("Podman's files", () => {
  test("have helpers for hosts, and no store for all", async () => {
    await home.keychain("ours");
    await home.helper("broken", "exit 3");
    await home.write("run/containers/auth.json", {
      credsStore: "broken",
      credHelpers: { "a.example": "ours" },
      auths: { "a.example": auth("file:pw"), "b.example": auth("b:pw") },
    });
    expect((await home.find("a.example"))?.username).toBe("file");
    expect(await home.asked("ours")).toEqual(["get a.example"]);
    expect((await home.find("b.example"))?.username).toBe("b");
  });
});

describe("Kubernetes secrets", () => {
  const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64");
  const secret = (name: string, data: string): string =>
    `apiVersion: v1\nkind: Secret\nmetadata:\n  name: ${name}\ntype: kubernetes.io/dockerconfigjson\n${data}`;
  const dockerJson = `data:\n  .dockerconfigjson: ${encoded(config("kube"))}\n`;

  test.each([
    ["YAML", secret("pull", dockerJson), "kube"],
    [
      "stringData",
      secret("pull", `stringData:\n  .dockerconfigjson: '${JSON.stringify(config("plain"))}'\n`),
      "plain",
    ],
    [
      ".dockercfg",
      `kind: Secret\nmetadata: {name: pull}\ntype: kubernetes.io/dockercfg\ndata: {".dockercfg": ${encoded({ [registry]: auth("old:pw") })}}`,
      "old",
    ],
    [
      "JSON",
      JSON.stringify({
        kind: "Secret",
        metadata: { name: "pull" },
        data: { ".dockerconfigjson": encoded(config("json")) },
      }),
      "json",
    ],
    [
      "a list of several",
      `kind: List\nitems:\n- {kind: ConfigMap, data: {a: b}}\n- {kind: Secret, metadata: {name: tls}, data: {tls.key: QQ==}}\n- {kind: Secret, metadata: {name: pull}, data: {.dockerconfigjson: ${encoded(config("listed"))}}}\n`,
      "listed",
    ],
    ["several documents", `kind: ConfigMap\n---\n${secret("pull", dockerJson)}`, "kube"],
  ])("%s", async (_what, text, username) => {
    const authfile = await home.write("secret.yaml", text);
    const found = await home.find(registry, { authfile });
    expect(found?.username).toBe(username);
    expect(found?.origin).toBe(`${authfile} (Secret pull) (key ${registry})`);
  });

  test.each([
    ["another secret", "kind: Secret\ndata: {tls.key: czNjcmV0LXdvcmQ=}\n", "there is no pull secret in it"],
    ["a Pod", "kind: Pod\nspec: s3cret-word\n", "there is no pull secret in it"],
    [
      "what is not JSON inside",
      secret("pull", "data: {.dockerconfigjson: czNjcmV0LXdvcmQ=}\n"),
      ".dockerconfigjson is not the base64 of JSON",
    ],
    ["prose", "s3cret-word: [", "it is neither JSON nor a Kubernetes Secret"],
    ["a list", '["s3cret-word"]', "it is not as Docker writes it"],
  ])("%s is refused without a word of it", async (_what, text, message) => {
    const authfile = await home.write("secret.yaml", text);
    const error = await failureOf(home.find(registry, { authfile }));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(authfile);
    expect(error.message).toContain(message);
    expect(error.hint).toBeDefined();
    expect(everythingSaid(error)).not.toMatch(/s3cret|czNjcmV0/);
  });
});

describe("the list", () => {
  const place = "manifests.yaml:3:5";
  const listed = async (login: object, env = {}) =>
    await home.find(registry, { env: home.env(env), login: { username: "ada", place, ...login } });

  test("names a file or a variable that holds the password", async () => {
    const passwordFile = await home.write("pw.txt", "p w \r\n");
    expect(await listed({ passwordFile })).toMatchObject({
      username: "ada",
      password: "p w ",
      origin: `${passwordFile} (named at ${place})`,
    });
    expect(await listed({ passwordVariable: "PW" }, { PW: "pw" })).toMatchObject({
      password: "pw",
      origin: `PW (named at ${place})`,
    });
  });

  test("is told where what it names is not there", async () => {
    const absent = home.dir.join("absent");
    const empty = await home.write("empty", "\n");
    for (const [login, message] of [
      [{ passwordFile: absent }, `Cannot read ${absent}: there is no such file`],
      [{ passwordFile: empty }, `Cannot read ${empty}: it is empty`],
      [{ passwordVariable: "PW" }, "Cannot use PW: it is not set"],
    ] as const) {
      const error = await failureOf(listed(login));
      expect([error.code, error.message]).toEqual(["AUTH", message]);
      expect(error.hint).toContain(place);
    }
  });
});
