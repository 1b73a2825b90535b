/**
 * Tokens that end in the middle of an upload. The service says "60 seconds" as many do; the registry takes them for
 * one to two, so that the test need not last a minute: distribution grants 60 s beyond `exp`.
 */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificate, makeCertificate } from "./support/certificates.ts";
import { type CorpusImage, listOf, makeLongImage, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { alice } from "./support/htpasswd.ts";
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
    let small: CorpusImage;
    const bundle = ({ repository }: CorpusImage): string =>
      folder.join(`${repository.replace("/", "-")}.tar`);

    beforeAll(async () => {
      folder = await tempDir();
      tokenKey = await makeCertificate({ dir: folder.path, hosts: ["token"], name: "token" });
      large = await makeLongImage(1, 70 * MiB);
      small = { ...(await makeLongImage(1, 12 * MiB)), repository: "team/small" };
      await using registry = await startDockerRegistry({ program, dir: folder.join("content") });
      await upload(registry.url, [large, small]);
      for (const image of [large, small]) {
        const args = ["pull", "--file", "-", "--to", bundle(image)];
        const pulled = await runMirror(args, { stdin: listOf(registry.host, [image]) });
        expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
      }
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

    /** Pushes by `args` to `host`, which leads to the registry; then the registry has to hold the image. */
    async function push(args: readonly string[], host: string, registry: DockerRegistry, image: CorpusImage) {
      const auth = Buffer.from(`${alice.username}:${alice.password}`).toString("base64");
      await using home = await tempDir();
      await writeFile(home.join("config.json"), JSON.stringify({ auths: { [host]: { auth } } }));
      const all = [...args, "--registry", host, "--plain-http", host];
      const pushed = await runMirror(all, { env: { DOCKER_CONFIG: home.path } });
      expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
      expect(pushed.stderr + pushed.stdout).not.toContain(alice.password);
      const access = ["--tls-verify=false", `--creds=${alice.username}:${alice.password}`];
      await expectManifests({ skopeo, host: registry.host, access }, manifestsOf([image]));
    }

    /** It did happen, was not tried for ever, and each refusal was got over: something was accepted before the next. */
    async function expectExpiry(
      registry: DockerRegistry,
      service: TokenService,
      chunks: number,
    ): Promise<void> {
      const log = await registry.accessLog.requests();
      const uploads = log.filter(({ path }) => path.includes("/blobs/uploads/"));
      const sent = uploads.filter(({ method }) => method === "PATCH" || method === "PUT");
      const refused = sent.filter(({ status }) => status === 401);
      expect(refused.length).toBeGreaterThanOrEqual(1);
      const begun = uploads.filter(({ method, status }) => method === "POST" && status === 202);
      const accepted = (from: number, to: number): boolean =>
        uploads.slice(from, to).some(({ method, status }) => method !== "DELETE" && status < 300);
      const places = refused.map((request) => uploads.indexOf(request));
      for (const [at, place] of places.entries()) {
        expect(accepted(place + 1, places[at + 1] ?? uploads.length)).toBe(true);
      }
      // The config, and the layer: once, after each refusal, and for the two sizes that nginx does not take.
      expect(begun.length).toBeLessThanOrEqual(2 + refused.length + 2);
      expect(sent.length).toBeLessThanOrEqual(chunks * (1 + refused.length) + 2);
      // For two names of rights, at most one a second; and those of skopeo.
      expect(service.requests.length).toBeLessThanOrEqual(60);
    }

    test("between two chunks of the program's own accord", async () => {
      await using service = await startTokens();
      await using registry = await startRegistry(service);
      // The first chunk of 64 MiB takes longer than a token lives.
      await using relay = await startRelay({ port: portOf(registry), upload: 24 * MiB });
      await push(["push", bundle(large)], relay.host, registry, large);
      await expectExpiry(registry, service, 2);
    });

    test("between many small chunks, which a proxy has asked for", async () => {
      await using service = await startTokens();
      await using registry = await startRegistry(service);
      await using front = await startNginx({
        program: proxies?.nginx ?? "",
        upstream: registry.url,
        maxBody: "1m",
      });
      await using relay = await startRelay({ port: portOf(front), upload: 4 * MiB });
      await push(["push", bundle(small)], relay.host, registry, small);
      await expectExpiry(registry, service, 13);
    });

    test("between chunks whose size the list tells, in a sync", async () => {
      await using source = await startDockerRegistry({ program, dir: folder.join("content") });
      await using service = await startTokens();
      await using registry = await startRegistry(service);
      await using relay = await startRelay({ port: portOf(registry), upload: 4 * MiB });
      const list = folder.join("sync.yaml");
      const settings = `registries:\n  "${relay.host}": {chunkSize: 2MiB}\n`;
      await writeFile(list, `${listOf(source.host, [small])}${settings}`);
      await push(["sync", "--file", list], relay.host, registry, small);
      await expectExpiry(registry, service, 7);
    });
  },
);

function portOf({ host }: { readonly host: string }): number {
  return Number(host.split(":")[1]);
}
