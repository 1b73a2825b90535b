/**
 * Tokens that end in the middle of an upload. The service says "60 seconds" as many do; the registry takes them for
 * one to two, so that the test need not last a minute: distribution grants 60 s beyond `exp`.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificate, makeCertificate } from "./support/certificates.ts";
import { type CorpusImage, listOf, makeLongImage, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { alice, htpasswdFile } from "./support/htpasswd.ts";
import { startNginx } from "./support/nginx.ts";
import { startRelay } from "./support/relay.ts";
import { expectManifests } from "./support/skopeo.ts";
import { startTokenService, type TokenService } from "./support/token-service.ts";
import { interopTools, proxyTools } from "./support/tools.ts";

const tools = await interopTools();
const proxies = await proxyTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

const MiB = 1024 * 1024;

describe.skipIf(tools === undefined || proxies === undefined)(
  "a token that ends in the middle of an upload",
  () => {
    let folder: TempDir;
    let tokenKey: Certificate;
    /** A layer that goes in chunks of its own accord. */
    let large: CorpusImage;
    let bundle: string;

    beforeAll(async () => {
      folder = await tempDir();
      tokenKey = await makeCertificate({ dir: folder.path, hosts: ["token"], name: "token" });
      large = await makeLongImage(1, 70 * MiB);
      bundle = folder.join("bundle.tar");
      await using registry = await startDockerRegistry({ program });
      await upload(registry.url, [large]);
      const pulled = await runMirror(["pull", "--file", "-", "--to", bundle], {
        stdin: listOf(registry.host, [large]),
      });
      expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    });

    afterAll(async () => {
      await folder[Symbol.asyncDispose]();
    });

    const startTokens = (): Promise<TokenService> =>
      startTokenService({ certificate: tokenKey, users: [alice], lifetime: -58, advertised: 60 });
    const startRegistry = (service: TokenService): Promise<DockerRegistry> =>
      startDockerRegistry({
        program,
        token: {
          realm: service.realm,
          service: "test-registry",
          issuer: service.issuer,
          rootCert: tokenKey.certificateFile,
        },
      });

    /** Pushes to `host`, which leads to the registry; then the registry has to hold the image. */
    async function push(host: string, registry: DockerRegistry): Promise<void> {
      const auth = Buffer.from(`${alice.username}:${alice.password}`).toString("base64");
      const config = JSON.stringify({ auths: { [host]: { auth } } });
      await using home = await tempDir();
      const { mkdir, writeFile } = await import("node:fs/promises");
      await mkdir(home.join(".docker"));
      await writeFile(home.join(".docker", "config.json"), config);
      const env = { DOCKER_CONFIG: home.join(".docker") };
      const pushed = await runMirror(["push", bundle, "--registry", host, "--plain-http", host], { env });
      expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
      expect(pushed.stderr + pushed.stdout).not.toContain(alice.password);
      const access = ["--tls-verify=false", `--creds=${alice.username}:${alice.password}`];
      await expectManifests({ skopeo, host: registry.host, access }, manifestsOf([large]));
    }

    test("between two chunks", async () => {
      await using service = await startTokens();
      await using registry = await startRegistry(service);
      // The first chunk of 64 MiB takes longer than a token lives.
      await using relay = await startRelay({ port: Number(registry.host.split(":")[1]), upload: 24 * MiB });
      await push(relay.host, registry);
      const requests = (await registry.accessLog.requests()).filter(({ path }) =>
        path.includes("/blobs/uploads/"),
      );
      console.log(requests.map((r) => `${r.method} ${r.path} ${r.status}`));
    }, 30_000);
  },
);
