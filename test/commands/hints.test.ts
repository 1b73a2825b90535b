/** Small things that mislead: flags with a slip, hints that lead nowhere, an image of which a part is lost. */
import { execFileSync } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

test.each([
  [
    "--plain-http",
    "http://10.0.0.1:5000",
    'Cannot use --plain-http "http://10.0.0.1:5000": it is not HOST[:PORT]',
    "write --plain-http 10.0.0.1:5000",
  ],
  [
    "--insecure",
    "registry.internal/team",
    'Cannot use --insecure "registry.internal/team": it is not HOST[:PORT]',
    "write --insecure registry.internal",
  ],
  [
    "--plain-http",
    "10.0.0.1:port",
    'Cannot use --plain-http "10.0.0.1:port": it is not HOST[:PORT]',
    "write it like registry.internal:5000",
  ],
])("a host that is none after %s %s", async (flag, value, message, hint) => {
  const expected = { code: 2, stderr: `Error: ${message}\n  hint: ${hint}\n` };
  expect(await runMirror(["ls", "127.0.0.1:1", flag, value])).toMatchObject(expected);
  const variable = `MIRROR_${flag.slice(2).toUpperCase().replace("-", "_")}`;
  expect(await runMirror(["ls", "127.0.0.1:1"], { env: { [variable]: value } })).toMatchObject(expected);
});

test("inspect shows the rest of an image that has lost a part, says what is missing, and fails", async () => {
  await using registry = await startRegistry();
  const there = await makeImage({ seed: "there", platform: "linux/amd64" });
  const gone = await makeImage({ seed: "gone", platform: "linux/arm64" });
  const index = makeIndex([there, gone]);
  seed(registry, "team/index", undefined, there);
  registry.putManifest("team/index", "1.0", index.manifest, index.descriptor.mediaType);
  const name = `${registry.host}/team/index:1.0`;
  const { code, stdout, stderr } = await runMirror(["inspect", name]);
  expect(code, stderr).toBe(1);
  expect(stdout).toContain(there.layers[0]?.descriptor.digest);
  expect(stdout).toMatch(new RegExp(`^missing +linux/arm64 +${gone.descriptor.digest}$`, "m"));
  expect(stderr).toContain(
    `Error: Cannot find ${name}: linux/arm64 (${gone.descriptor.digest}) is in its index, and not there\n`,
  );
  const json = await runMirror(["inspect", name, "--json"]);
  expect([json.code, JSON.parse(json.stdout)]).toMatchObject([
    1,
    {
      error: { code: "NOT_FOUND" },
      images: [{ missing: [{ digest: gone.descriptor.digest }], manifests: [{ platform: "linux/amd64" }] }],
    },
  ]);
});

test("a proxy that does not reach its registry is not taken for the registry", async () => {
  await using registry = await startRegistry();
  registry.fault("status", { status: 502, match: { path: /\/tags\// } });
  const { stdout, stderr } = await runMirror(["ls", `${registry.host}/team/app`, "--json"]);
  expect(JSON.parse(stdout), stderr).toMatchObject({
    error: {
      hint: `check that the registry behind the proxy at ${registry.host} is running, and can be reached from there`,
    },
  });
}, 120_000);

test("verify leads to a push with the same names", async () => {
  await using folder = await tempDir();
  await using registry = await startRegistry();
  seed(registry, "team/app", "1.0", await makeImage());
  const bundle = folder.join("b.tar");
  expect((await runMirror(["pull", `${registry.host}/team/app:1.0`, "--to", bundle])).code).toBe(0);
  const name = "copies/{repository}";
  const { code, stderr } = await runMirror(["verify", bundle, "--registry", registry.host, "--name", name]);
  expect(code).toBe(4);
  expect(stderr).toContain(
    `  hint: push it: mirror push ${bundle} --registry ${registry.host} --name '${name}'\n`,
  );
});

test.runIf(process.getuid?.() === 0 && process.platform === "linux")(
  "a login is kept in a config.json that is mounted on its own",
  async () => {
    await using folder = await tempDir();
    await using registry = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret" } } });
    const [config, elsewhere] = [folder.join("config.json"), folder.join("elsewhere")];
    await writeFile(config, "");
    await writeFile(elsewhere, `{"auths": {}, "credHelpers": {"a.example": "${"long".repeat(200)}"}}\n`);
    execFileSync("mount", ["--bind", elsewhere, config]);
    try {
      const args = [
        "login",
        registry.host,
        "--username",
        "ada",
        "--password-stdin",
        "--plain-http",
        registry.host,
      ];
      const env = { DOCKER_CONFIG: folder.path };
      const { code, stderr } = await runMirror(args, { stdin: "s3cret", env });
      expect(code, stderr).toBe(0);
      expect(JSON.parse(await readFile(elsewhere, "utf8"))).toMatchObject({
        auths: { [registry.host]: { auth: expect.any(String) } },
        credHelpers: {},
      });
      expect((await runMirror(["logout", registry.host], { env })).code).toBe(0);
      expect(JSON.parse(await readFile(elsewhere, "utf8"))).not.toHaveProperty(["auths", registry.host]);
      expect((await stat(config)).ino).toBe((await stat(elsewhere)).ino);
    } finally {
      execFileSync("umount", [config]);
    }
  },
);
