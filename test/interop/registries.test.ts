/** The registries that operators have, and what stands in front of them: everything works with each of them. */
import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Certificate, makeCertificate } from "./support/certificates.ts";
import { type CorpusImage, makeCorpus, makeLongImage, upload } from "./support/corpus.ts";
import { type DockerRegistryOptions, startDockerRegistry } from "./support/docker-registry.ts";
import { alice, htpasswdFile } from "./support/htpasswd.ts";
import { type NginxOptions, startNginx } from "./support/nginx.ts";
import { type Place, roundTrip } from "./support/round-trip.ts";
import { startTokenService } from "./support/token-service.ts";
import { interopTools, proxyTools } from "./support/tools.ts";

const tools = await interopTools();
const proxies = await proxyTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
const nginx = proxies?.nginx ?? "";

const MiB = 1024 * 1024;

describe.skipIf(tools === undefined || proxies === undefined)("pull, push, sync, verify and ls with", () => {
  let folder: TempDir;
  let certificates: Certificates;
  let tokenKey: Certificate;
  let images: readonly CorpusImage[];
  /** Folder of a registry that holds the images. */
  let content: string;

  beforeAll(async () => {
    folder = await tempDir();
    certificates = await makeCertificates();
    tokenKey = await makeCertificate({ dir: folder.path, hosts: ["token"], name: "token" });
    // A layer that no proxy with a limit of 1m lets through at once.
    images = [...(await makeCorpus()), await makeLongImage(2, 5 * MiB)];
    content = folder.join("content");
    await using registry = await startDockerRegistry({ program, dir: content });
    await upload(registry.url, images);
    await mkdir(folder.join("trust"));
    await writeFile(folder.join("trust", "ca.crt"), certificates.ca.cert);
  });

  afterAll(async () => {
    await certificates[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const passwords = htpasswdFile([alice]);
  const credentials = `--creds=${alice.username}:${alice.password}`;
  const plainHttp = (...hosts: readonly string[]): readonly string[] =>
    hosts.flatMap((host) => ["--plain-http", host]);
  const caFile = (): readonly string[] => ["--ca-file", certificates.ca.certFile];
  const trust = (): string => `--cert-dir=${folder.join("trust")}`;
  const tls = () => {
    const { key, cert, keyFile, certFile } = certificates.server;
    return { key, certificate: cert, keyFile, certificateFile: certFile };
  };

  interface Setup {
    readonly registry?: Partial<DockerRegistryOptions>;
    /** nginx in front of it. */
    readonly nginx?: Omit<NginxOptions, "program" | "upstream">;
    readonly flags?: (...hosts: readonly string[]) => readonly string[];
    /** How skopeo gets in. */
    readonly access: readonly string[];
    readonly login?: boolean;
  }

  /** A round trip with three registries of the kind. Gives what the program wrote to stderr, and nginx's logs. */
  async function everything(setup: Setup) {
    await using stack = new AsyncDisposableStack();
    const open = async (dir: string | undefined): Promise<Place & { readonly front: Place }> => {
      const options = { program, ...(dir === undefined ? {} : { dir }), ...setup.registry };
      const registry = stack.use(await startDockerRegistry(options));
      if (setup.nginx === undefined) return { ...registry, front: registry };
      const front = stack.use(await startNginx({ program: nginx, upstream: registry.url, ...setup.nginx }));
      return { host: front.host, accessLog: registry.accessLog, front };
    };
    const [source, pushed, synced] = [await open(content), await open(undefined), await open(undefined)];
    const auth = Buffer.from(`${alice.username}:${alice.password}`).toString("base64");
    const auths = Object.fromEntries([source, pushed, synced].map(({ host }) => [host, { auth }]));
    const env = setup.login === true ? { DOCKER_AUTH_CONFIG: "", DOCKER_CONFIG: folder.join("login") } : {};
    await mkdir(folder.join("login"), { recursive: true });
    await writeFile(folder.join("login", "config.json"), JSON.stringify({ auths }));
    const stderr = await roundTrip({
      source,
      pushed,
      synced,
      images,
      mirror: (args, cwd) => runMirror(args, { cwd, env }),
      ...(setup.flags === undefined ? {} : { flags: setup.flags }),
      view: { skopeo, access: setup.access },
    });
    const requests = await pushed.front.accessLog.requests();
    return { stderr, requests };
  }

  test("plain HTTP on this machine", async () => {
    await everything({ access: ["--tls-verify=false"] });
  });

  test("passwords and TLS of a private CA", async () => {
    const registry = { tls: tls(), htpasswd: passwords };
    await everything({ registry, flags: caFile, access: [trust(), credentials], login: true });
  });

  test("Bearer tokens", async () => {
    await using service = await startTokenService({ certificate: tokenKey, users: [alice], advertised: 60 });
    const token = {
      realm: service.realm,
      service: "test-registry",
      issuer: service.issuer,
      rootCert: tokenKey.certificateFile,
    };
    // To list what a registry has is a right of its own, which the service gives to every user.
    const access = ["--tls-verify=false", credentials];
    await everything({ registry: { token }, flags: plainHttp, access, login: true });
  });

  test("nginx in front that takes 1m", async () => {
    const front = { tls: tls(), maxBody: "1m" };
    const { requests } = await everything({ nginx: front, flags: caFile, access: [trust()] });
    // It takes two refusals to find the size, and both large layers may be on their way by then; then it is known.
    const refused = requests.filter(({ status }) => status === 413);
    expect(refused.length).toBeGreaterThanOrEqual(2);
    expect(refused.length).toBeLessThanOrEqual(4);
    expect(requests.filter(({ method }) => method === "PATCH").length).toBeGreaterThanOrEqual(10);
    expect(requests.filter(({ status }) => status >= 500)).toEqual([]);
  });

  test("nginx in front without X-Forwarded-Proto, which passes on at once", async () => {
    const front = { tls: tls(), passScheme: false, requestBuffering: false };
    await everything({ nginx: front, flags: caFile, access: [trust()] });
  });

  test("nginx in front that was told nothing but where the registry is", async () => {
    const front = { tls: tls(), maxBody: "1m", passScheme: false, passHost: false };
    await everything({ nginx: front, flags: caFile, access: [trust()] });
  });

  test("nginx in front that asks for the password, and takes 1m, without X-Forwarded-Proto", async () => {
    const front = { tls: tls(), maxBody: "1m", passScheme: false, htpasswd: passwords };
    await everything({ nginx: front, flags: caFile, access: [trust(), credentials], login: true });
  });
});
