/** What `DEBUG=1` shows: every request, and no secret. */
import { mkdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

test("DEBUG=1 tells of each request with method, host, path, status and request id, and of no secret", async () => {
  await using folder = await tempDir();
  await using registry = await startRegistry({ auth: { type: "bearer", users: { ada: "s3cret-word" } } });
  const image = await makeImage({ layers: [3000] });
  seed(registry, "team/app", "1.0", image);
  registry.fault("redirect-blobs");
  registry.customFault("numbers its answers", {
    path: /\/manifests\//,
    transform: (reply) => ({ ...reply, headers: { ...reply.headers, "x-request-id": "id-4711" } }),
  });
  await mkdir(folder.join("docker"));
  const auth = Buffer.from("ada:s3cret-word").toString("base64");
  await writeFile(
    folder.join("docker/config.json"),
    JSON.stringify({ auths: { [registry.host]: { auth } } }),
  );

  const args = ["pull", `${registry.host}/team/app:1.0`, "--to", "b.tar", "--plain-http", registry.host];
  const env = { DOCKER_CONFIG: folder.join("docker") };
  const { code, stderr } = await runMirror(args, { cwd: folder.path, env: { ...env, DEBUG: "1" } });
  expect(code, stderr).toBe(0);
  const escaped = registry.url.replaceAll(".", "\\.");
  const line = (text: string): RegExp => new RegExp(`^debug: ${text}`, "m");
  expect(stderr).toMatch(line(`GET ${escaped}/v2/ 401 in \\d+ ms$`));
  expect(stderr).toMatch(
    line(`credentials for ${registry.host} from .*config\\.json \\(key ${registry.host}\\)$`),
  );
  expect(stderr).toMatch(line(`GET http://127\\.0\\.0\\.1:\\d+/token\\?… 200 in \\d+ ms, authenticated$`));
  expect(stderr).toMatch(
    line(`GET ${escaped}/v2/team/app/manifests/1\\.0 200 in \\d+ ms, authenticated, request id id-4711`),
  );
  expect(stderr).toMatch(
    line(`GET ${escaped}/v2/team/app/blobs/sha256:[0-9a-f]+ 307 in \\d+ ms, authenticated$`),
  );
  expect(stderr).toMatch(line(`GET http://127\\.0\\.0\\.1:\\d+/storage/\\S+\\?… 200 in \\d+ ms$`));
  const sent = registry.requests.flatMap(({ headers, url }) => [
    headers.authorization?.replace(/^\w+ /, "") ?? auth,
    new URL(url, "http://x").searchParams.get("signature") ?? auth,
  ]);
  for (const secret of ["s3cret-word", auth, ...sent]) expect(stderr).not.toContain(secret);

  const quiet = await runMirror(args, { cwd: folder.path, env });
  expect(quiet.code, quiet.stderr).toBe(0);
  expect(quiet.stderr).not.toContain("debug:");
});
