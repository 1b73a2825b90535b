/** Row 13 of the fault list: credential helpers, as real programs on the PATH. */
import { access, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Credentials } from "../../src/credentials/credentials.ts";
import { auth, type Home, makeHome } from "../credentials/support.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { everythingSaid, failureOf } from "../registry-client/support.ts";
import { makeImage, seed } from "../support/images.ts";
import { surviving } from "./support.ts";

const image = await makeImage();
const secret = "s3cret-word";
const good = `cat > /dev/null; echo '{"ServerURL":"x","Username":"ada","Secret":"${secret}"}'`;

async function start(): Promise<TestRegistry> {
  const registry = await startRegistry({ auth: { type: "basic", users: { ada: secret } } });
  seed(registry, "a", "v1", image);
  return registry;
}

function finder(home: Home, registry: TestRegistry, helperTimeoutMs?: number) {
  return new Credentials({ env: home.env(), helperTimeoutMs }).finder(registry.host);
}

const broken: readonly (readonly [string, string | undefined, RegExp])[] = [
  ["is missing", undefined, /there is no such program on the PATH$/],
  ["hangs", `echo ${secret}; sleep 600 & echo $! > child; wait`, /it did not answer within 0\.1 s$/],
  ["prints garbage", `echo '${secret}'`, /what it wrote is not a credential$/],
  ["prints other JSON", `echo '["${secret}"]'`, /what it wrote is not a credential$/],
  ["prints nothing", "", /what it wrote is not a credential$/],
  ["prints 100 MB", `yes ${secret} | head -c 100000000; touch done`, /it wrote more than 1 MiB$/],
  ["ends with another exit code", `echo ${secret}; echo ${secret} >&2; exit 3`, /it ended with exit code 3$/],
  ["is killed", "kill -9 $$", /it was killed$/],
];

test.each(broken)("row 13: a credential helper that %s", async (what, script, message) => {
  await using home = await makeHome();
  await using registry = await start();
  if (script !== undefined) await home.helper("h", `cd ${home.dir.path}\n${script}`);
  const file = await home.write(".docker/config.json", { credsStore: "h" });
  const error = await surviving(
    {
      registries: [registry],
      secrets: [secret],
      again: async (connect) => {
        await home.helper("h", good);
        const watched = connect(registry, { plainHttp: true, credential: finder(home, registry) });
        expect((await watched.repository("a").resolve("v1")).digest).toBe(image.descriptor.digest);
      },
    },
    async (connect) => {
      const credential = finder(home, registry, what === "hangs" ? 100 : undefined);
      const watched = connect(registry, { plainHttp: true, credential });
      return await failureOf(watched.repository("a").resolve("v1"));
    },
  );
  expect(error.code).toBe("AUTH");
  expect(error.message).toMatch(message);
  expect(error.message).toContain("docker-credential-h");
  expect(error.message).toContain(file);
  expect(error.hint).toContain("docker-credential-h list");
  expect(everythingSaid(error)).not.toContain(secret);
  // No request was made with half a credential, and nothing of the helper is left.
  expect(registry.requests.filter(({ headers }) => headers.authorization !== undefined).length).toBe(1);
  if (what === "hangs") {
    const pid = Number(await readFile(home.dir.join("child"), "utf8"));
    await expect.poll(async () => await isRunning(pid)).toBe(false);
  }
  if (what === "prints 100 MB") await expect(access(home.dir.join("done"))).rejects.toThrow();
});

test("row 13: a credential helper that has none leads on to the next place", async () => {
  await using home = await makeHome();
  await using registry = await start();
  await home.helper("h", 'cat > /dev/null; echo "credentials not found in native keychain"; exit 1');
  await home.write(".docker/config.json", { credsStore: "h" });
  await home.write("run/containers/auth.json", { auths: { [registry.host]: auth(`ada:${secret}`) } });
  const digest = await surviving({ registries: [registry], secrets: [secret] }, async (connect) => {
    const watched = connect(registry, { plainHttp: true, credential: finder(home, registry) });
    return (await watched.repository("a").resolve("v1")).digest;
  });
  expect(digest).toBe(image.descriptor.digest);
});

test("row 13: a credential helper that has none, and no other place, ends with the way to log in", async () => {
  await using home = await makeHome();
  await using registry = await start();
  await home.helper("h", 'cat > /dev/null; echo "credentials not found in native keychain"; exit 1');
  await home.write(".docker/config.json", { credsStore: "h" });
  const error = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp: true, credential: finder(home, registry) });
    return await failureOf(watched.repository("a").resolve("v1"));
  });
  expect(error.code).toBe("AUTH");
  expect(error.hint).toContain(`mirror login ${registry.host}`);
});

/** A process that has ended but has not been waited for yet counts as gone. */
async function isRunning(pid: number): Promise<boolean> {
  const state = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return state !== "" && !/\) Z /.test(state);
}
