/**
 * A site whose registries are reached through a forward proxy only. Addresses of this machine are never asked for
 * through one (Go's rule, which all clients have), so all of it lives in a network namespace of its own.
 */
import { cp, mkdir } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { cleanEnvironment, programPath } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type CorpusImage, makeCorpus, makeLongImage, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { canMakeNamespaces, makeNamespace, type NetworkNamespace } from "./support/namespace.ts";
import type { Outcome } from "./support/process.ts";
import { type ForwardProxy, type ProxyOptions, startProxy } from "./support/proxy.ts";
import { roundTrip } from "./support/round-trip.ts";
import { interopTools, proxyTools } from "./support/tools.ts";

const tools = await interopTools();
const proxies = await proxyTools();
const namespaces = await canMakeNamespaces();
if (!namespaces) console.error("PROXY TESTS CANNOT RUN: network namespaces need root and iproute2");
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
const possible = tools !== undefined && proxies !== undefined && namespaces;

const registryAddress = "10.141.241.175";
const proxyHost = "10.141.241.178:3128";
/** What comes from here has come through the proxy. */
const proxyAddress = "10.141.241.179";
const proxyUser = { username: "site", password: "proxy-pass" };

describe.skipIf(!possible)("behind a forward proxy", () => {
  let folder: TempDir;
  let certificates: Certificates;
  let images: readonly CorpusImage[];
  let content: string;
  let namespace: NetworkNamespace;

  beforeAll(async () => {
    folder = await tempDir();
    certificates = await makeCertificates([registryAddress]);
    images = [...(await makeCorpus()), await makeLongImage(1, 5_000_000)];
    content = folder.join("content");
    {
      // The namespace cannot be reached from here: the content is put into place before.
      await using outside = await startDockerRegistry({ program, dir: content });
      await upload(outside.url, images);
    }
    await mkdir(folder.join("trust"));
    await cp(certificates.ca.certFile, folder.join("trust", "ca.crt"));
  });

  // One for each test: a test that hangs leaves its servers behind, and their ports would not be free.
  beforeEach(async () => {
    namespace = await makeNamespace([registryAddress, proxyHost.split(":")[0] ?? "", proxyAddress]);
  });

  afterEach(async () => {
    await namespace.close();
  });

  afterAll(async () => {
    await certificates[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const startRegistry = (port: number, secure: boolean, dir?: string): Promise<DockerRegistry> => {
    const { key, cert, keyFile, certFile } = certificates.server;
    return startDockerRegistry({
      program,
      netns: namespace.name,
      host: registryAddress,
      port,
      ...(secure ? { tls: { key, certificate: cert, keyFile, certificateFile: certFile } } : {}),
      ...(dir === undefined ? {} : { dir }),
    });
  };
  const begin = (user?: ProxyOptions["user"]): Promise<ForwardProxy> =>
    startProxy({
      program: proxies?.tinyproxy ?? "",
      netns: namespace.name,
      host: proxyHost,
      from: proxyAddress,
      ...(user === undefined ? {} : { user }),
    });

  /** Runs a command in the namespace with these variables and nothing of this machine's configuration. */
  async function inside(
    command: readonly string[],
    variables: Readonly<Record<string, string>>,
    cwd: string,
  ): Promise<Outcome> {
    await using home = await tempDir();
    const clean = Object.entries(cleanEnvironment(home.path, variables));
    const environment = clean.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
    return await namespace.exec("env", ["-i", ...environment, ...command], { cwd });
  }
  const mirror =
    (variables: Readonly<Record<string, string>>) =>
    (args: readonly string[], cwd: string): Promise<Outcome> =>
      inside([process.execPath, programPath, ...args], variables, cwd);

  /** From where a registry was asked by the program, or by skopeo. */
  async function clients(registry: DockerRegistry, by = /^(?!skopeo)/): Promise<readonly string[]> {
    const requests = (await registry.accessLog.requests()).filter(({ agent }) => by.test(agent));
    return [...new Set(requests.map(({ client }) => client))];
  }

  test("with TLS: everything works, and nothing goes around the proxy", async () => {
    await using proxy = await begin();
    await using source = await startRegistry(5001, true, content);
    await using pushed = await startRegistry(5002, true);
    await using synced = await startRegistry(5003, true);
    const variables = { HTTPS_PROXY: `http://${proxyHost}` };
    await roundTrip({
      source,
      pushed,
      synced,
      images,
      mirror: mirror(variables),
      flags: () => ["--ca-file", certificates.ca.certFile],
      view: {
        skopeo,
        access: [`--cert-dir=${folder.join("trust")}`],
        runner: (command, args) =>
          namespace.exec("env", [`HTTPS_PROXY=http://${proxyHost}`, command, ...args]),
      },
    });
    for (const registry of [source, pushed, synced]) {
      expect(proxy.requests).toContain(`CONNECT ${registry.host}`);
      expect(await clients(registry)).toEqual([proxyAddress]);
    }
    expect(proxy.requests.filter((request) => !request.startsWith("CONNECT "))).toEqual([]);
  });

  test("with plain HTTP and a password at the proxy: everything works, in lower case too", async () => {
    await using proxy = await begin(proxyUser);
    await using source = await startRegistry(5001, false, content);
    await using pushed = await startRegistry(5002, false);
    await using synced = await startRegistry(5003, false);
    const url = `http://${proxyUser.username}:${proxyUser.password}@${proxyHost}`;
    const variables = { http_proxy: url, https_proxy: url };
    const stderr = await roundTrip({
      source,
      pushed,
      synced,
      images,
      mirror: mirror(variables),
      flags: (...hosts) => hosts.flatMap((host) => ["--plain-http", host]),
      // Not through the proxy: of skopeo's several Accept lines, tinyproxy passes on one. Ours is one line.
      view: { skopeo, runner: namespace.exec },
    });
    expect(stderr).not.toContain(proxyUser.password);
    for (const registry of [source, pushed, synced]) expect(await clients(registry)).toEqual([proxyAddress]);
    expect(proxy.requests).not.toEqual([]);
  });

  test("with a password at the proxy that is left out: it is said who wants it, and nothing goes around", async () => {
    await using proxy = await begin(proxyUser);
    await using registry = await startRegistry(5001, true, content);
    await using work = await tempDir();
    const variables = { HTTPS_PROXY: `http://${proxyHost}` };
    const args = ["pull", `${registry.host}/team/web:1.0`, "--to", "bundle.tar"];
    const run = mirror(variables);
    const refused = await run([...args, "--ca-file", certificates.ca.certFile], work.path);
    expect(refused, refused.stderr).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("407");
    expect(refused.stderr).toContain(proxyHost);
    expect(await clients(registry)).toEqual([]);
    expect(proxy.requests.length).toBeLessThanOrEqual(10);
  });

  test("a proxy that is not there is named", async () => {
    await using registry = await startRegistry(5001, true, content);
    await using work = await tempDir();
    const url = `http://${proxyUser.username}:${proxyUser.password}@${proxyHost}`;
    const args = ["pull", `${registry.host}/team/web:1.0`, "--to", "bundle.tar"];
    const run = mirror({ HTTPS_PROXY: url });
    const failed = await run([...args, "--ca-file", certificates.ca.certFile], work.path);
    expect(failed, failed.stderr).toMatchObject({ code: 1, stdout: "" });
    expect(failed.stderr).toContain(proxyHost);
    expect(failed.stderr).not.toContain(proxyUser.password);
    expect(await clients(registry)).toEqual([]);
  });

  test.each([
    ["an address", registryAddress],
    ["an address with its port", `${registryAddress}:5001`],
    ["a network", "192.0.2.0/24, 10.141.240.0/20"],
    ["all", "*"],
  ])("what NO_PROXY names is asked directly: %s", async (_what, value) => {
    await using proxy = await begin();
    await using registry = await startRegistry(5001, true, content);
    await using work = await tempDir();
    const variables = { HTTPS_PROXY: `http://${proxyHost}`, NO_PROXY: value };
    const args = ["pull", `${registry.host}/team/web:1.0`, "--to", "bundle.tar"];
    const run = mirror(variables);
    const pulled = await run([...args, "--ca-file", certificates.ca.certFile], work.path);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    expect(proxy.requests).toEqual([]);
    expect(await clients(registry)).toEqual([registryAddress]);
  });

  test("localhost is never asked through it", async () => {
    await using proxy = await begin();
    await using registry = await startDockerRegistry({
      program,
      netns: namespace.name,
      host: "127.0.0.1",
      port: 5001,
      dir: content,
    });
    await using work = await tempDir();
    const url = `http://${proxyHost}`;
    const args = ["pull", `${registry.host}/team/web:1.0`, "--to", "bundle.tar"];
    const pulled = await mirror({ HTTPS_PROXY: url, HTTP_PROXY: url })(args, work.path);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    expect(proxy.requests).toEqual([]);
  });

  test("the set-up itself: skopeo goes through it", async () => {
    await using proxy = await begin(proxyUser);
    await using registry = await startRegistry(5001, true, content);
    const url = `http://${proxyUser.username}:${proxyUser.password}@${proxyHost}`;
    const trust = `--cert-dir=${folder.join("trust")}`;
    const args = [skopeo, "inspect", "--raw", trust, `docker://${registry.host}/team/web:1.0`];
    const seen = await namespace.exec("env", [`HTTPS_PROXY=${url}`, ...args]);
    expect(seen).toMatchObject({ code: 0, stderr: "" });
    expect(proxy.requests).toContain(`CONNECT ${registry.host}`);
    expect(await clients(registry, /^skopeo/)).toEqual([proxyAddress]);
  });
});
