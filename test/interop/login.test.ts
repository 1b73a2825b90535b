/** `mirror login` and skopeo's (Podman's) at a real docker-registry: each finds what the other has kept. */
import { describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { tempDir } from "../support/temp.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { alice, htpasswdFile } from "./support/htpasswd.ts";
import { run } from "./support/process.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
const htpasswd = htpasswdFile([alice]);

describe.skipIf(tools === undefined)("a docker-registry with passwords", () => {
  test("takes a login that skopeo then uses; a wrong password is not kept", async () => {
    await using folder = await tempDir();
    await using registry = await startDockerRegistry({ program, htpasswd });
    const { host } = registry;
    const authfile = folder.join("auth.json");
    const args = ["login", host, "-u", alice.username, "--password-stdin", "--plain-http", host];
    const refused = await runMirror([...args, "--authfile", authfile], { stdin: "wrong" });
    expect([refused.code, refused.stdout], refused.stderr).toEqual([1, ""]);
    expect(refused.stderr).toContain("check the user name and the password");
    const kept = await runMirror([...args, "--authfile", authfile], { stdin: alice.password });
    expect(kept.code, kept.stderr).toBe(0);
    const known = await run(skopeo, ["login", "--get-login", "--authfile", authfile, host]);
    expect(known.stdout.trim(), known.stderr).toBe(alice.username);
    const out = await runMirror(["logout", host, "--authfile", authfile]);
    expect(out.stdout).toContain(`removed the credentials for ${host} from ${authfile}`);
  });

  test.each(["", "/team"])("finds the login that skopeo has kept for HOST%s", async (path) => {
    await using folder = await tempDir();
    await using registry = await startDockerRegistry({ program, htpasswd });
    const { host } = registry;
    const authfile = folder.join("auth.json");
    const user = [`--username=${alice.username}`, `--password=${alice.password}`];
    const args = ["login", "--authfile", authfile, "--tls-verify=false", ...user, `${host}${path}`];
    const login = await run(skopeo, args);
    expect(login.code, login.stderr).toBe(0);
    const list = ["ls", `${host}/team/app`, "--plain-http", host];
    const found = await runMirror(list, { env: { REGISTRY_AUTH_FILE: authfile } });
    expect(found.stderr).toContain("has no such repository");
    const other = await runMirror(["ls", `${host}/other/app`, "--plain-http", host, "--authfile", authfile]);
    expect(other.stderr).toContain(path === "" ? "has no such repository" : `mirror login ${host}`);
  });
});
