/** `mirror login` and `mirror logout`: checked with the registry, kept where Docker keeps it, no secret ever told. */
import { lstat, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { auth, type Home, makeHome } from "../credentials/support.ts";
import type { AuthOptions } from "../registry/auth.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type RunOptions, type RunResult, runMirror, startMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";

const password = "s3cret:word pä";
const users = { ada: password };
const basic: AuthOptions = { type: "basic", users };
const encoded = auth(`ada:${password}`).auth;

let home: Home;
beforeEach(async () => {
  home = await makeHome();
});
afterEach(async () => await home[Symbol.asyncDispose]());

/** Runs the program in the home, and asserts that it told no secret. */
async function run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { HOME, PATH, DOCKER_CONFIG, XDG_RUNTIME_DIR, XDG_CONFIG_HOME } = home.env();
  const result = await runMirror(args, {
    cwd: home.dir.path,
    ...options,
    env: { HOME, PATH, DOCKER_CONFIG, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, ...options.env },
  });
  for (const secret of ["s3cret", encoded]) expect(result.stdout + result.stderr).not.toContain(secret);
  return result;
}

async function login(registry: TestRegistry, more: readonly string[] = [], stdin = `${password}\n`) {
  const args = ["login", registry.host, "--username", "ada", "--password-stdin"];
  return await run([...args, "--plain-http", registry.host, ...more], { stdin });
}

const readJson = async (path: string): Promise<unknown> =>
  JSON.parse(await readFile(home.dir.join(path), "utf8"));
const start = async (options: AuthOptions | undefined = basic): Promise<TestRegistry> =>
  await startRegistry({ auth: options });

describe("a login", () => {
  test.each([
    ["Basic", basic],
    ["Bearer", { type: "bearer", users } as const],
  ])("over %s is checked, kept for this user alone, and used by the next command", async (_name, options) => {
    await using registry = await start(options);
    seed(registry, "team/app", "1", await makeImage());
    const result = await login(registry);
    const path = home.dir.join(".docker/config.json");
    expect([result.code, result.stdout], result.stderr).toEqual([
      0,
      `logged in to ${registry.host} as ada, kept in ${path}\n`,
    ]);
    expect(result.stderr).toMatch(/^warning: the password stands in .*config\.json encoded, not encrypted/);
    expect(await readJson(".docker/config.json")).toEqual({ auths: { [registry.host]: { auth: encoded } } });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(home.dir.join(".docker"))).mode & 0o777).toBe(0o700);
    expect(await readdir(home.dir.join(".docker"))).toEqual(["config.json"]);
    const listed = await run(["ls", `${registry.host}/team/app`, "--plain-http", registry.host]);
    expect(listed.stdout, listed.stderr).toBe(`${registry.host}/team/app:1\n`);
  });

  test.each([
    ["Basic", basic],
    ["Bearer", { type: "bearer", users, anonymousPull: true } as const],
  ])("over %s that the registry refuses is not kept", async (_name, options) => {
    await using registry = await start(options);
    const result = await login(registry, [], "s3cret-wrong");
    expect([result.code, result.stdout]).toEqual([1, ""]);
    expect(result.stderr).toMatch(
      /^Error: Cannot log in to .*401.*\n {2}hint: check the user name and the password/,
    );
    expect(result.stderr).toContain("standard input");
    await expect(stat(home.dir.join(".docker"))).rejects.toThrow();
  });

  test("that nobody asks for is kept with a warning", async () => {
    await using registry = await startRegistry();
    const result = await login(registry, ["--json"]);
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toContain(`${registry.host} asks for no login: the password was not checked`);
    expect(JSON.parse(result.stdout)).toEqual({
      registry: registry.host,
      username: "ada",
      checked: false,
      stored: { file: home.dir.join(".docker/config.json") },
    });
  });

  test("does not send the password over plain HTTP unasked", async () => {
    await using registry = await start();
    const result = await run(["login", registry.host, "-u", "ada", "--password-stdin"], { stdin: password });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/not sent over that unasked\n {2}hint: .*--plain-http/);
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("may come from variables", async () => {
    await using registry = await start();
    const result = await run(["login", registry.host, "--plain-http", registry.host], {
      env: { MIRROR_USERNAME: "ada", MIRROR_PASSWORD: password },
    });
    expect(result.code, result.stderr).toBe(0);
  });

  test("to https://HOST/ is one to HOST", async () => {
    await using registry = await start();
    const args = ["login", `https://${registry.host}/v2/`, "-u", "ada", "--password-stdin"];
    const result = await run([...args, "--plain-http", registry.host], { stdin: password });
    expect(result.stdout, result.stderr).toContain(`logged in to ${registry.host} as ada`);
  });
});

describe("the file", () => {
  test("keeps all else in it, in its order and with its indentation, also behind a link", async () => {
    await using registry = await start();
    const text = `{
  "HttpHeaders": {"a": "b"},
  "auths": {"z.example": {"auth": "eA=="}, "https://${registry.host}/v1/": {"auth": "b2xkOm9sZA=="}},
  "detachKeys": "ctrl-p"
}
`;
    await home.write("dotfiles/docker.json", text);
    await home.write(".docker/x", "");
    await symlink("../dotfiles/docker.json", home.dir.join(".docker/config.json"));
    const result = await login(registry);
    expect(result.code, result.stderr).toBe(0);
    expect((await lstat(home.dir.join(".docker/config.json"))).isSymbolicLink()).toBe(true);
    const written = await readFile(home.dir.join("dotfiles/docker.json"), "utf8");
    expect(written).toBe(
      `${JSON.stringify(
        {
          HttpHeaders: { a: "b" },
          auths: { "z.example": { auth: "eA==" }, [registry.host]: { auth: encoded } },
          detachKeys: "ctrl-p",
        },
        null,
        2,
      )}\n`,
    );
    expect((await stat(home.dir.join("dotfiles/docker.json"))).mode & 0o777).toBe(0o600);
  });

  test.each(["flag", "variable"])("may be another one, by %s", async (by) => {
    await using registry = await start();
    const authfile = home.dir.join("new/auth.json");
    const env = by === "flag" ? {} : { REGISTRY_AUTH_FILE: authfile };
    const flags = by === "flag" ? ["--authfile", authfile] : [];
    const args = ["login", registry.host, "-u", "ada", "--password-stdin", "--plain-http", registry.host];
    const result = await run([...args, ...flags], { stdin: password, env });
    expect(result.stdout, result.stderr).toContain(`kept in ${authfile}\n`);
    const out = await run(["logout", registry.host, ...flags], { env });
    expect(out.stdout).toBe(`removed the credentials for ${registry.host} from ${authfile}\n`);
    expect(await readJson("new/auth.json")).toEqual({ auths: {} });
  });

  test.each([
    ["broken", '{"auths": {"a.example": {"auth": "s3cret"}'],
    ["a list", '["s3cret"]'],
    [
      "a Kubernetes secret",
      `kind: Secret\ndata: {.dockerconfigjson: ${Buffer.from("{}").toString("base64")}}\n`,
    ],
    ["odd", '{"auths": ["s3cret"]}'],
  ])("that is %s is not touched", async (_what, text) => {
    await using registry = await start();
    const file = await home.write("auth.json", text);
    const result = await login(registry, ["--authfile", file]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^Error: Cannot (read|change) .*auth\.json: .*\n {2}hint: /m);
    expect(await readFile(file, "utf8")).toBe(text);
  });
});

describe("a helper", () => {
  test.each(["ls", "logout"])(
    "that hangs does not keep %s from ending with Ctrl-C",
    async (command) => {
      await using registry = await start();
      await home.write(".docker/config.json", { credsStore: "slow" });
      await home.helper("slow", `echo started > ${home.dir.join("started")}; sleep 1000`);
      const { HOME, PATH, DOCKER_CONFIG } = home.env();
      await using running = await startMirror(
        command === "ls" ? ["ls", registry.host, "--plain-http", registry.host] : [command, registry.host],
        { env: { HOME, PATH, DOCKER_CONFIG } },
      );
      await expect
        .poll(() => readFile(home.dir.join("started"), "utf8").catch(() => ""), { timeout: 10_000 })
        .toBe("started\n");
      running.kill("SIGINT");
      const { code, stderr } = await running.result;
      expect(code, stderr).toBe(130);
      expect(stderr).toContain("Error: interrupted");
    },
    15_000,
  );

  test("keeps the password, and Docker's file none; a logout takes it away", async () => {
    await using registry = await start();
    await home.keychain("safe");
    const before = { auths: { [registry.host]: auth("old:old") }, credHelpers: { [registry.host]: "safe" } };
    const path = await home.write(".docker/config.json", before);
    const result = await login(registry, ["--json"]);
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).not.toContain("encrypted");
    expect(JSON.parse(result.stdout)).toMatchObject({
      checked: true,
      stored: { file: path, helper: "docker-credential-safe" },
    });
    expect(await readJson(".docker/config.json")).toEqual({ ...before, auths: { [registry.host]: {} } });
    expect(await home.asked("safe")).toEqual([`store ${registry.host}`]);
    const listed = await run(["ls", registry.host, "--plain-http", registry.host]);
    expect(listed.code, listed.stderr).toBe(0);
    const out = await run(["logout", registry.host]);
    expect(out.stdout).toBe(
      `removed the credentials for ${registry.host} from docker-credential-safe (named by ${path})\n`,
    );
    expect(await readJson(".docker/config.json")).toEqual({ ...before, auths: {} });
    const again = await run(["logout", registry.host]);
    expect([again.code, again.stdout]).toEqual([0, `there were no credentials for ${registry.host}\n`]);
  });

  test.each([
    ["cat; exit 1", "it ended with exit code 1"],
    [
      "cat; echo credentials not found in native keychain; exit 1",
      "it says that there is nothing to be found",
    ],
  ])("that does not work fails the login, and nothing is written in its place: %s", async (script, state) => {
    await using registry = await start();
    await home.helper("safe", script);
    const path = await home.write(".docker/config.json", { credsStore: "safe" });
    const before = await readFile(path, "utf8");
    const result = await login(registry);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^Error: Cannot ask the credential helper docker-credential-safe, /m);
    expect(result.stderr).toContain(`: ${state}\n`);
    expect(await readFile(path, "utf8")).toBe(before);
  });
});

describe("a logout", () => {
  test("removes every spelling of the key, and no other registry's", async () => {
    const keys = ["https://index.docker.io/v1/", "docker.io", "https://registry-1.docker.io", "a.example"];
    const auths = Object.fromEntries(keys.map((key) => [key, auth("ada:pw")]));
    await home.write(".docker/config.json", { auths: { ...auths, "a.example/team": auth("ada:pw") } });
    const result = await run(["logout", "docker.io", "--json"]);
    expect(JSON.parse(result.stdout)).toEqual({
      registry: "docker.io",
      removed: [{ file: home.dir.join(".docker/config.json") }],
    });
    expect(await readJson(".docker/config.json")).toEqual({
      auths: { "a.example": auth("ada:pw"), "a.example/team": auth("ada:pw") },
    });
  });

  test("without any file makes none, and is no failure", async () => {
    const result = await run(["logout", "a.example"]);
    expect([result.code, result.stdout, result.stderr]).toEqual([
      0,
      "there were no credentials for a.example\n",
      "",
    ]);
    await expect(stat(home.dir.join(".docker"))).rejects.toThrow();
  });

  test("tells of credentials that are left elsewhere", async () => {
    const left = await home.write("run/containers/auth.json", { auths: { "a.example": auth("ada:pw") } });
    const result = await run(["logout", "a.example"]);
    expect(result.stderr).toBe(
      `warning: there are still credentials for a.example: ${left} (key a.example)\n`,
    );
  });
});

describe("a wrong use", () => {
  test.each([
    [["login", "a.io"], /no terminal to ask on$/, "--password-stdin"],
    [["login", "a.io", "--password-stdin"], /there is no user name with it$/, "--username USER"],
    [
      ["login", "a.io", "-u", "ada", "--password-stdin"],
      /nothing came from standard input$/,
      "--password-stdin",
    ],
    [["login", "a.io", "-u", "ada", "-p", "s3cret"], /from the command line: every user/, "--password-stdin"],
    [["login", "a.io", "-u", "ada:s3cret"], /a user name holds no colon$/, "name alone"],
    [["login", "a.io/team"], /a login is for a whole registry$/, "write a.io"],
    [["login", "http://a.io"], /it begins with http:\/\/$/, "--plain-http a.io"],
    [["login"], /^Missing HOST/, "mirror login --help"],
    [["logout"], /^Missing HOST/, "mirror logout --help"],
  ])("is one message with a hint: %j", async (args, message, hint) => {
    const result = await run(args);
    expect([result.code, result.stdout]).toEqual([2, ""]);
    const errors = [...result.stderr.matchAll(/^Error: (.*)$/gm)].map(([, text]) => text);
    expect(errors).toEqual([expect.stringMatching(message)]);
    expect(/^ {2}hint: (.*)$/m.exec(result.stderr)?.[1]).toContain(hint);
  });
});

describe("credentials of other commands", () => {
  const image = "team/app:1";

  test("come from the list, with a warning if the password is written there", async () => {
    await using registry = await start();
    seed(registry, "team/app", "1", await makeImage());
    await writeFile(home.dir.join("pw"), `${password}\n`);
    const list = (line: string): string =>
      `version: 1\nregistries:\n  ${registry.host}:\n    plainHttp: true\n    username: ada\n    ${line}\nimages: [${registry.host}/${image}]\n`;
    for (const line of [
      "passwordFile: pw",
      "passwordVariable: PW",
      `password: ${JSON.stringify(password)}`,
    ]) {
      await writeFile(home.dir.join("l.yaml"), list(line));
      const result = await run(["plan", "-f", "l.yaml"], { env: { PW: password } });
      expect(result.code, result.stderr).toBe(0);
      const warning = `the password for ${registry.host} is written in the list (l.yaml:5:5)`;
      if (line.startsWith("password:")) expect(result.stderr).toContain(warning);
      else expect(result.stderr).not.toContain("written in the list");
    }
  });

  test("MIRROR_USERNAME is the target's, and never goes to the source", async () => {
    await using source = await start({ type: "basic", users: { eve: "other-word" } });
    await using target = await start();
    await home.write(".docker/config.json", { auths: { [source.host]: auth("eve:other-word") } });
    seed(source, "team/app", "1", await makeImage());
    const plain = ["--plain-http", `${source.host},${target.host}`];
    const env = { MIRROR_USERNAME: "ada", MIRROR_PASSWORD: password };
    const args = ["sync", `${source.host}/${image}`, "--registry", `${target.host}/mirror`, ...plain];
    const result = await run(args, { env });
    expect(result.code, result.stderr).toBe(0);
    const sent = (registry: TestRegistry) =>
      new Set(registry.requests.flatMap(({ headers }) => headers.authorization ?? []));
    expect(sent(source)).toEqual(new Set([`Basic ${auth("eve:other-word").auth}`]));
    expect(sent(target)).toEqual(new Set([`Basic ${encoded}`]));
    await using other = await start();
    const refused = await run(["plan", `${source.host}/${image}`, `${other.host}/${image}`, ...plain], {
      env,
    });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /^Error: Cannot use MIRROR_USERNAME and MIRROR_PASSWORD: 2 registries take part/,
    );
    expect(other.requests).toEqual([]);
  });

  test("a mistyped --authfile is told, and half a credential before anything is asked", async () => {
    await using registry = await start();
    const args = ["ls", registry.host, "--plain-http", registry.host];
    const absent = await run([...args, "--authfile", "absent.json"]);
    expect(absent.stderr).toContain("Error: Cannot read absent.json: there is no such file");
    const before = registry.requests.length;
    const half = await run(args, { env: { MIRROR_PASSWORD: password } });
    expect([half.code, registry.requests.length]).toEqual([2, before]);
    expect(half.stderr).toContain("MIRROR_USERNAME is not set");
  });

  test("that are missing name the way to log in", async () => {
    await using registry = await start();
    const result = await run(["ls", registry.host, "--plain-http", registry.host]);
    expect(result.stderr).toContain(`mirror login ${registry.host}`);
  });
});
