/** Credential helpers as real programs: what they are asked, what their answers mean, what is remembered. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Credentials } from "../../src/credentials/credentials.ts";
import { everythingSaid, FakeClock, failureOf } from "../registry-client/support.ts";
import { auth, type Home, makeHome } from "./support.ts";

let home: Home;
beforeEach(async () => {
  home = await makeHome();
});
afterEach(async () => await home[Symbol.asyncDispose]());

const answer = (username: string, secret: string): string =>
  `cat > /dev/null; echo '${JSON.stringify({ ServerURL: "x", Username: username, Secret: secret })}'`;
const config = async (content: object): Promise<string> => await home.write(".docker/config.json", content);

describe("which helper is asked", () => {
  test("that of the host, before the store, before what stands in the file", async () => {
    await home.helper("own", answer("own", "pw"));
    await home.helper("store", answer("store", "pw"));
    await config({
      credHelpers: { "a.example": "own", "c.example": "" },
      credsStore: "store",
      auths: { "b.example": auth("b:pw"), "c.example": auth("c:pw") },
    });
    expect((await home.find("a.example"))?.username).toBe("own");
    expect((await home.find("b.example"))?.username).toBe("store");
    // Docker takes an empty name for no helper.
    expect((await home.find("c.example"))?.username).toBe("c");
  });

  test("with the host as its key, and with Docker's own for Docker Hub", async () => {
    await home.keychain("store");
    await config({ credsStore: "store" });
    expect(await home.find("my-reg.example:5000", { repository: "team/app" })).toBeUndefined();
    expect(await home.find("docker.io", { repository: "library/nginx" })).toBeUndefined();
    expect(await home.asked("store")).toEqual(["get my-reg.example:5000", "get https://index.docker.io/v1/"]);
  });

  test.each(["https://index.docker.io/v1/", "docker.io", "index.docker.io"])(
    "credHelpers of Docker Hub may be under %s",
    async (key) => {
      await home.helper("hub", answer("ada", "pw"));
      await config({ credHelpers: { [key]: "hub" } });
      expect(await home.find("docker.io")).toMatchObject({ username: "ada", password: "pw" });
    },
  );
});

describe("what an answer means", () => {
  test.each([
    ["a user name with a password", "ada", "p:w", { username: "ada", password: "p:w" }],
    ["<token> with an identity token", "<token>", "it", { identityToken: "it" }],
  ])("%s", async (_what, username, secret, expected) => {
    await home.helper("h", answer(username, secret));
    const path = await config({ credsStore: "h" });
    const found = await home.find("a.example");
    expect(found).toEqual({ ...expected, origin: `docker-credential-h (key a.example, named by ${path})` });
  });

  test("nothing at all is no credential", async () => {
    await home.helper("h", answer("", ""));
    await config({ credsStore: "h", auths: { "a.example": auth("file:pw") } });
    expect((await home.find("a.example"))?.username).toBe("file");
  });

  test("half of it is a failure", async () => {
    await home.helper("h", answer("", "s3cret-word"));
    await config({ credsStore: "h" });
    const error = await failureOf(home.find("a.example"));
    expect(error.message).toMatch(/there is no user name in its answer$/);
    expect(everythingSaid(error)).not.toContain("s3cret");
  });
});

test.each(["../../x", "a/b", "x y", ""])("a file cannot have %j run", async (name) => {
  await home.write("x", "#!/bin/sh\ntouch ran");
  await config({ credHelpers: { "a.example": name }, auths: {} });
  if (name === "") expect(await home.find("a.example")).toBeUndefined();
  else {
    const error = await failureOf(home.find("a.example"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(JSON.stringify(name));
    expect(error.hint).toContain(home.dir.join(".docker/config.json"));
  }
});

describe("what is remembered", () => {
  test("a helper is asked once for all repositories and all who ask at the same time, and again after a while", async () => {
    await home.keychain("h");
    await config({ credsStore: "h" });
    const clock = new FakeClock();
    const find = new Credentials({ env: home.env(), clock }).finder("a.example");
    await Promise.all(["a", "b", "c", undefined].map(async (repository) => await find(repository)));
    await find("d");
    expect(await home.asked("h")).toEqual(["get a.example"]);
    clock.advance(11 * 60_000);
    await find("a");
    expect(await home.asked("h")).toEqual(["get a.example", "get a.example"]);
  });

  test("a failure too; one after a good answer leaves that in use", async () => {
    await home.helper("h", `echo x >> ${home.dir.join("h.log")}; exit 3`);
    await config({ credsStore: "h" });
    const clock = new FakeClock();
    const find = new Credentials({ env: home.env(), clock }).finder("a.example");
    await failureOf(find("a"));
    await failureOf(find("b"));
    expect(await home.asked("h")).toHaveLength(1);
    clock.advance(11 * 60_000);
    await home.helper("h", answer("ada", "pw"));
    expect((await find("a"))?.username).toBe("ada");
    clock.advance(11 * 60_000);
    await home.helper("h", "exit 3");
    expect((await find("a"))?.username).toBe("ada");
  });
});
