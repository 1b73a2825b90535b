/** Real registries that ask for passwords, tokens and trust: what gets in, what does not, and what is said then. */
import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunResult, runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Certificate, makeCertificate } from "./support/certificates.ts";
import { type CorpusImage, listOf, makeCorpus, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistryOptions, startDockerRegistry } from "./support/docker-registry.ts";
import { alice, bob, htpasswdFile, type TestUser } from "./support/htpasswd.ts";
import { expectManifests } from "./support/skopeo.ts";
import { startTokenService, type TokenService } from "./support/token-service.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined)("a docker-registry", () => {
  let folder: TempDir;
  let certificates: Certificates;
  let tokenKey: Certificate;
  let corpus: readonly CorpusImage[];
  /** Folder of a registry that holds the corpus. */
  let content: string;
  /** A bundle of the corpus. */
  let bundle: string;

  beforeAll(async () => {
    folder = await tempDir();
    certificates = await makeCertificates();
    tokenKey = await makeCertificate({ dir: folder.path, hosts: ["token"], name: "token" });
    corpus = await makeCorpus();
    content = folder.join("content");
    bundle = folder.join("bundle.tar");
    await using registry = await startDockerRegistry({ program, dir: content });
    await upload(registry.url, corpus);
    const pulled = await runMirror(["pull", "--file", "-", "--to", bundle], {
      stdin: listOf(registry.host, corpus),
    });
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  });

  afterAll(async () => {
    await certificates[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const passwords = { htpasswd: htpasswdFile([alice]) };
  const tls = (): Pick<DockerRegistryOptions, "tls"> => {
    const { key, cert, keyFile, certFile } = certificates.server;
    return { tls: { key, certificate: cert, keyFile, certificateFile: certFile } };
  };
  const tokens = (service: TokenService): Pick<DockerRegistryOptions, "token"> => ({
    token: {
      realm: service.realm,
      service: "test-registry",
      issuer: service.issuer,
      rootCert: tokenKey.certificateFile,
    },
  });
  const startTokens = () => startTokenService({ certificate: tokenKey, users: [alice] });

  /** DOCKER_CONFIG with this user's password for the hosts. */
  async function logIn(user: TestUser, ...hosts: readonly string[]): Promise<Record<string, string>> {
    const auth = Buffer.from(`${user.username}:${user.password}`).toString("base64");
    const config = folder.join(`config-${hosts.join("-").replaceAll(":", "-")}`);
    await mkdir(config, { recursive: true });
    const auths = Object.fromEntries(hosts.map((host) => [host, { auth }]));
    await writeFile(`${config}/config.json`, JSON.stringify({ auths }));
    return { DOCKER_CONFIG: config };
  }

  /** Pull from such a registry and push into another one; then the other one has to hold the same bytes. */
  async function moveAll(
    options: Partial<DockerRegistryOptions>,
    how: { readonly flags: (host: string) => readonly string[]; readonly view: readonly string[] },
  ): Promise<void> {
    await using source = await startDockerRegistry({ program, dir: content, ...options });
    await using target = await startDockerRegistry({ program, ...options });
    const env = await logIn(alice, source.host, target.host);
    await using work = await tempDir();
    await writeFile(work.join("manifests.yaml"), listOf(source.host, corpus));
    const run = { cwd: work.path, env };
    const pulled = await runMirror(["pull", "--to", "bundle.tar", ...how.flags(source.host)], run);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    const args = ["push", "bundle.tar", "--registry", target.host, ...how.flags(target.host)];
    const pushed = await runMirror(args, run);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    await expectManifests({ skopeo, host: target.host, access: how.view }, manifestsOf(corpus));
    const verified = await runMirror(["verify", ...args.slice(1)], run);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
  }

  const credentials = `--creds=${alice.username}:${alice.password}`;
  const plainHttp = (host: string): readonly string[] => ["--plain-http", host];
  const caFile = (): readonly string[] => ["--ca-file", certificates.ca.certFile];
  /** skopeo's way to say the same: a folder with ca.crt in it. */
  const trust = async (): Promise<string> => {
    await mkdir(folder.join("trust"), { recursive: true });
    await writeFile(folder.join("trust", "ca.crt"), certificates.ca.cert);
    return `--cert-dir=${folder.join("trust")}`;
  };

  test("with passwords over plain HTTP takes --plain-http", async () => {
    await moveAll(passwords, { flags: plainHttp, view: ["--tls-verify=false", credentials] });
  });

  test("with a certificate of a private CA takes --ca-file", async () => {
    await moveAll(tls(), { flags: caFile, view: [await trust()] });
  });

  test("with both takes --ca-file and the password", async () => {
    const view = [await trust(), credentials];
    await moveAll({ ...tls(), ...passwords }, { flags: caFile, view });
  });

  test("behind a token service gets tokens for what it is asked for, and mounts with them", async () => {
    await using service = await startTokens();
    await moveAll(tokens(service), { flags: plainHttp, view: ["--tls-verify=false", credentials] });
    expect(service.requests.filter(({ status }) => status !== 200)).toEqual([]);
    const scopes = new Set(service.requests.flatMap((request) => request.scopes));
    expect([...scopes]).toEqual(
      expect.arrayContaining(["repository:team/app:pull", "repository:team/app:pull,push"]),
    );
    expect([...scopes].filter((scope) => !/^repository:[a-z/]+:pull(,push)?$/.test(scope))).toEqual([]);
    // The layer that two repositories share needs the right to both in one token.
    const both = service.requests.filter(({ scopes: asked }) => asked.length === 2);
    expect(both.map(({ account }) => account)).toContain("alice");
  });

  test("behind a token service lets anybody read, as far as the service allows it", async () => {
    await using service = await startTokens();
    await using registry = await startDockerRegistry({ program, dir: content, ...tokens(service) });
    const image = `${registry.host}/team/web:1.0`;
    const pulled = await runMirror(["pull", image, "--to", folder.join("anonymous.tar")]);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    expect(service.requests.map(({ account }) => account)).not.toContain("alice");
  });

  describe("refuses, and the reason is said with the way out:", () => {
    interface Refusal {
      readonly options?: Partial<DockerRegistryOptions>;
      readonly user?: TestUser;
      readonly flags?: (host: string) => readonly string[];
    }

    /** Pushes and pulls; gives both results and the requests that the registry has seen with a status other than 401. */
    async function tryBoth({ options = {}, user, flags = () => [] }: Refusal) {
      await using registry = await startDockerRegistry({ program, dir: folder.join("empty"), ...options });
      const { host } = registry;
      const env = user === undefined ? {} : await logIn(user, host);
      const push = await runMirror(["push", bundle, "--registry", host, ...flags(host)], { env });
      const to = folder.join("refused.tar");
      const pull = await runMirror(["pull", `${host}/team/web:1.0`, "--to", to, ...flags(host)], { env });
      const requests = await registry.accessLog.requests();
      return { host, push, pull, answered: requests.filter(({ status }) => status !== 401), env };
    }

    function expectRefused(results: readonly RunResult[], ...texts: readonly string[]): void {
      for (const result of results) {
        expect(result.code, result.stderr).toBe(1);
        for (const text of texts) expect(result.stderr).toContain(text);
        for (const secret of [alice.password, bob.password]) expect(result.stderr).not.toContain(secret);
        expect(result.stdout).toBe("");
      }
    }

    test("a password is not sent over plain HTTP unasked", async () => {
      const { host, push, pull, answered } = await tryBoth({ options: passwords, user: alice });
      const message = `Cannot log in to ${host}: it speaks plain HTTP, and a password is not sent over that unasked`;
      expectRefused([push, pull], message, `--plain-http ${host}`);
      expect(answered).toEqual([]);
    });

    test("an unknown CA", async () => {
      const { host, push, pull, answered } = await tryBoth({ options: tls() });
      expectRefused([push, pull], `the certificate of ${host} is not trusted`, "--ca-file");
      expect(answered).toEqual([]);
    });

    test("an unknown CA is not a reason to go on without TLS", async () => {
      const options = { ...tls(), ...passwords };
      const { host, push, pull } = await tryBoth({ options, user: alice });
      expectRefused([push, pull], `the certificate of ${host} is not trusted`, "--ca-file");
    });

    test("TLS where --plain-http was said", async () => {
      const { host, push, pull } = await tryBoth({ options: tls(), flags: plainHttp });
      expectRefused([push, pull], "it speaks TLS, not plain HTTP", `leave out --plain-http ${host}`);
    });

    test("no password", async () => {
      const { host, push, pull, answered } = await tryBoth({ options: passwords });
      expectRefused([push, pull], `${host} answered 401 (not authenticated)`, `mirror login ${host}`);
      expect(answered).toEqual([]);
    });

    test("a wrong password", async () => {
      const user = { ...alice, password: bob.password };
      const { push, pull, env } = await tryBoth({ options: passwords, user, flags: plainHttp });
      expectRefused([push, pull], "(not authenticated)", `${env["DOCKER_CONFIG"]}/config.json`);
    });

    test("a wrong password at the token service", async () => {
      await using service = await startTokens();
      const { host, push, pull, env } = await tryBoth({
        options: tokens(service),
        user: bob,
        flags: plainHttp,
      });
      const origin = `refused the credentials from ${env["DOCKER_CONFIG"]}/config.json`;
      expectRefused([push, pull], `Cannot log in to ${host}`, origin, `mirror login ${host}`);
    });

    test("a right that the token does not give", async () => {
      await using service = await startTokens();
      const { host, push } = await tryBoth({ options: tokens(service) });
      expectRefused([push], "no push access", `log in to ${host}: mirror login ${host}`);
    });

    test("a token service without TLS at a registry with TLS", async () => {
      await using service = await startTokens();
      const { push, pull } = await tryBoth({
        options: { ...tls(), ...tokens(service) },
        user: alice,
        flags: caFile,
      });
      expectRefused([push, pull], `its token service ${new URL(service.realm).origin} is not https`);
      expect(service.requests).toEqual([]);
    });
  });
});
