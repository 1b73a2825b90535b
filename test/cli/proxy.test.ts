/** The program behind a proxy and with certificates of its own, as a process with an environment. */
import { mkdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { startProxy } from "../support/proxy.ts";
import { tempDir } from "../support/temp.ts";
import { makeCertificates } from "../support/tls.ts";

/** Names under .invalid are nobody's: whoever reaches them went through the proxy. */
const name = "registry.invalid:5000";
const pull = ["pull", `${name}/team/app:1.0`, "--to", "out.tar"];

async function seeded(registry: TestRegistry): Promise<TestRegistry> {
  seed(registry, "team/app", "1.0", await makeImage());
  return registry;
}

test("pull goes through HTTP_PROXY with its password, and past it where NO_PROXY says so", async () => {
  await using registry = await seeded(await startRegistry());
  await using proxy = await startProxy({ login: "ada:s3cret", routes: { [name]: registry.host } });
  const env = { http_proxy: `http://ada:s3cret@${proxy.host}` };
  const args = [...pull, "--plain-http", name];
  const through = await runMirror(args, { env });
  expect(through.stderr).toContain("1 image");
  expect(through.code).toBe(0);
  expect(proxy.seen.every(({ target }) => target.startsWith(`http://${name}/v2/`))).toBe(true);
  const seen = proxy.seen.length;
  expect(seen).toBeGreaterThan(2);
  expect(registry.requests.every(({ headers }) => headers["proxy-authorization"] === undefined)).toBe(true);

  const past = await runMirror(args, { env: { ...env, NO_PROXY: ".invalid" } });
  expect(past.code).toBe(1);
  expect(past.stderr).toContain(name);
  expect(proxy.seen).toHaveLength(seen);
  expect(`${through.stderr}${past.stderr}`).not.toContain("s3cret");
});

test("pull and push go through HTTPS_PROXY, with the certificates of --certs-dir", async () => {
  await using certificates = await makeCertificates(["registry.invalid"]);
  await using registry = await seeded(
    await startRegistry({ tls: { ...certificates.server, clientCa: certificates.ca.cert } }),
  );
  await using proxy = await startProxy({ routes: { [name]: registry.host } });
  await using folder = await tempDir();
  await mkdir(folder.join(`certs/${name}`), { recursive: true });
  await writeFile(folder.join(`certs/${name}/ca.crt`), certificates.ca.cert);
  await writeFile(folder.join(`certs/${name}/client.cert`), certificates.client.cert);
  await writeFile(folder.join(`certs/${name}/client.key`), certificates.client.key);
  const options = { cwd: folder.path, env: { HTTPS_PROXY: proxy.host, MIRROR_CERTS_DIR: "certs" } };
  const pulled = await runMirror(pull, options);
  expect(pulled.stderr).toContain("1 image");
  expect(pulled.code).toBe(0);
  const pushed = await runMirror(["push", "out.tar", "--registry", `${name}/copy`], options);
  expect(pushed.code).toBe(0);
  expect(registry.tags("copy/team/app")).toEqual(["1.0"]);
  expect(proxy.seen.every(({ method, target }) => method === "CONNECT" && target === name)).toBe(true);

  const bare = await runMirror(pull, { ...options, env: { HTTPS_PROXY: proxy.host } });
  expect(bare.code).toBe(1);
  expect(bare.stderr).toContain(`the certificate of ${name} is not trusted`);
});

test("a client certificate can stand in the list, beside it", async () => {
  await using certificates = await makeCertificates();
  const tls = { ...certificates.server, clientCa: certificates.ca.cert };
  await using registry = await seeded(await startRegistry({ tls }));
  await using folder = await tempDir();
  await writeFile(folder.join("ca.pem"), certificates.ca.cert);
  await writeFile(folder.join("c.pem"), certificates.client.cert);
  await writeFile(folder.join("k.pem"), certificates.client.key);
  const list = (settings: string): string =>
    `version: 1\nregistries: {"${registry.host}": {${settings}}}\nimages: ["${registry.host}/team/app:1.0"]\n`;
  await writeFile(folder.join("l.yaml"), list("caFile: ca.pem, clientCert: c.pem, clientKey: k.pem"));
  const args = ["pull", "-f", folder.join("l.yaml"), "--to", folder.join("out.tar")];
  expect((await runMirror(args)).code).toBe(0);
  await writeFile(folder.join("l.yaml"), list("caFile: ca.pem"));
  const without = await runMirror(args);
  expect(without.code).toBe(1);
  expect(without.stderr).toContain("demands a client certificate");
  await writeFile(folder.join("l.yaml"), list("clientCert: c.pem"));
  const half = await runMirror(args);
  expect(half.code).toBe(2);
  expect(half.stderr).toContain("clientKey is missing: they are a pair");
});

test("a proxy that cannot be used is wrong usage, before anything goes out", async () => {
  const result = await runMirror(pull, { env: { ALL_PROXY: "socks5://ada:s3cret@127.0.0.1:1" } });
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("Cannot use the proxy of ALL_PROXY: socks5:// is not supported");
  expect(result.stderr).not.toContain("s3cret");
});
