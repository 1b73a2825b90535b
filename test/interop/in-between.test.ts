/** What can go wrong between a registry and its clients while they work: proxies that limit, servers that restart. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningMirror, runMirror, startMirror } from "../support/cli.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { makeCertificates } from "../support/tls.ts";
import type { AccessLog } from "./support/access-log.ts";
import { type CorpusImage, listOf, makeLongImage, manifestsOf, upload } from "./support/corpus.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { type NginxOptions, startNginx } from "./support/nginx.ts";
import { startRelay } from "./support/relay.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools, proxyTools } from "./support/tools.ts";

const tools = await interopTools();
const proxies = await proxyTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

const MiB = 1024 * 1024;

describe.skipIf(tools === undefined || proxies === undefined)(
  "between the program and a docker-registry",
  () => {
    let folder: TempDir;
    let content: string;
    /** Few large layers, more of some size, and many small ones. */
    let large: CorpusImage;
    let middle: CorpusImage;
    let many: CorpusImage;
    const bundle = ({ repository }: CorpusImage): string =>
      folder.join(`${repository.replace("/", "-")}.tar`);

    beforeAll(async () => {
      folder = await tempDir();
      content = folder.join("content");
      large = { ...(await makeLongImage(4, 20 * MiB)), repository: "team/large" };
      middle = { ...(await makeLongImage(30, 1_500_000)), repository: "team/middle" };
      many = { ...(await makeLongImage(40, 50_000)), repository: "team/many" };
      await using registry = await startDockerRegistry({ program, dir: content });
      await upload(registry.url, [large, middle, many]);
      for (const image of [large, middle, many]) {
        const args = ["pull", "--file", "-", "--to", bundle(image)];
        const pulled = await runMirror(args, { stdin: listOf(registry.host, [image]) });
        expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
      }
    });

    afterAll(async () => {
      await folder[Symbol.asyncDispose]();
    });

    const inFront = (upstream: string, options: Partial<NginxOptions> = {}) =>
      startNginx({ program: proxies?.nginx ?? "", upstream, ...options });

    /** Waits until `log` has so many requests of a kind. Fails if the program ends before that. */
    async function until(
      log: AccessLog,
      running: RunningMirror,
      kind: (request: { readonly method: string; readonly status: number }) => boolean,
      times: number,
    ): Promise<void> {
      // Each look is a request of its own, so this does not spin.
      while ((await log.requests()).filter(kind).length < times) {
        expect(running.child.exitCode, running.stderr).toBe(null);
      }
    }

    test.each([
      ["and its uploads are still known", false],
      ["and its uploads are lost, since its secret is new", true],
    ])("a registry that is restarted behind nginx is waited for, %s", async (_what, randomSecret) => {
      const target = folder.join(`restarted-${randomSecret}`);
      await using registry = await startDockerRegistry({ program, dir: target, randomSecret });
      // Chunks, so that there are uploads which outlive a request.
      await using front = await inFront(registry.url, { maxBody: "1m" });
      await using relay = await startRelay({ port: portOf(front), upload: 40 * MiB });
      await using running = await startMirror(["push", bundle(large), "--registry", relay.host]);
      await until(front.accessLog, running, ({ method, status }) => method === "PATCH" && status === 202, 8);
      process.kill(registry.pid, "SIGKILL");
      await until(front.accessLog, running, ({ status }) => status === 502, 3);
      await using revived = await startDockerRegistry({
        program,
        dir: target,
        randomSecret,
        port: portOf(registry),
      });
      const pushed = await running.result;
      expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
      await expectManifests({ skopeo, host: revived.host }, manifestsOf([large]));
      const verified = await runMirror(["verify", bundle(large), "--registry", revived.host]);
      expect(verified, verified.stderr).toMatchObject({ code: 0 });
      // Waiting is not hammering.
      const failed = (await front.accessLog.requests()).filter(({ status }) => status === 502);
      expect(failed.length).toBeLessThanOrEqual(60);
    });

    test.each([429, 503] as const)(
      "nginx that limits requests by %i gets fewer, and all is done",
      async (status) => {
        await using source = await startDockerRegistry({ program, dir: content });
        await using registry = await startDockerRegistry({ program });
        const limit = { perSecond: 40, burst: 10, status };
        await using front = await inFront(source.url, { limit });
        await using behind = await inFront(registry.url, { limit });
        await using work = await tempDir();
        await writeFile(work.join("manifests.yaml"), listOf(front.host, [many]));
        const pulled = await runMirror(["pull", "--to", "bundle.tar"], { cwd: work.path });
        expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
        const pushed = await runMirror(["push", "bundle.tar", "--registry", behind.host], { cwd: work.path });
        expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
        await expectManifests({ skopeo, host: registry.host }, manifestsOf([many]));
        for (const { accessLog } of [front, behind]) {
          const requests = await accessLog.requests();
          const refused = requests.filter((request) => request.status === status);
          expect(refused.length).toBeGreaterThan(0);
          // 429 is a word to all of us, and the whole host rests. 503, nginx's default for this, concerns one request.
          expect(refused.length).toBeLessThan(requests.length / (status === 429 ? 3 : 2));
        }
      },
    );

    test("nginx that leaves the registry in the dark about its name and TLS is told of, and nothing goes elsewhere", async () => {
      await using certificates = await makeCertificates();
      const { keyFile, certFile } = certificates.server;
      await using registry = await startDockerRegistry({ program });
      const tls = { keyFile, certificateFile: certFile };
      const blind = { passHost: false, passScheme: false, rewriteLocations: false };
      await using front = await inFront(registry.url, { tls, ...blind });
      const push = ["push", bundle(many), "--registry", front.host, "--ca-file", certificates.ca.certFile];
      const pushed = await runMirror(push);
      expect(pushed, pushed.stderr).toMatchObject({ code: 1, stdout: "" });
      expect(pushed.stderr).toContain(`the upload location ${registry.url} is not safe to follow`);
      expect(pushed.stderr).toContain("check the X-Forwarded-Proto and X-Forwarded-Host headers");
      const requests = await registry.accessLog.requests();
      expect(requests.filter(({ method }) => method === "PUT" || method === "PATCH")).toEqual([]);
    });

    test("a line that breaks after 1 to 20 MB loses little of a pull", async () => {
      await using source = await startDockerRegistry({ program, dir: content });
      const sizes = randomBytesOf("breaks", 1000);
      let at = 0;
      await using relay = await startRelay({
        port: portOf(source),
        breakAfter: () => 1_000_000 + ((sizes[at++ % sizes.length] ?? 0) / 255) * 19_000_000,
      });
      await using work = await tempDir();
      await writeFile(work.join("manifests.yaml"), listOf(relay.host, [large]));
      const pulled = await runMirror(["pull", "--to", "bundle.tar"], { cwd: work.path });
      expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
      expect(relay.broken).toBeGreaterThanOrEqual(4);
      expect(relay.moved.down).toBeLessThan(80 * MiB * 1.05);
      const verified = await runMirror(["verify", "bundle.tar"], { cwd: work.path });
      expect(verified, verified.stderr).toMatchObject({ code: 0 });
    });

    test.each([
      ["smaller layers", () => middle],
      // distribution 2.8 cannot go on after a cut: these get through in chunks that the line lets pass.
      ["layers larger than that", () => large],
    ])("a line that breaks after 1 to 20 MB lets a push of %s through", async (_what, which) => {
      const image = which();
      await using registry = await startDockerRegistry({ program });
      const sizes = randomBytesOf("breaks", 1000);
      let at = 0;
      await using relay = await startRelay({
        port: portOf(registry),
        breakAfter: () => 1_000_000 + ((sizes[at++ % sizes.length] ?? 0) / 255) * 19_000_000,
      });
      const pushed = await runMirror(["push", bundle(image), "--registry", relay.host]);
      expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
      expect(relay.broken).toBeGreaterThanOrEqual(2);
      await expectManifests({ skopeo, host: registry.host }, manifestsOf([image]));
    });
  },
);

function portOf({ host }: { readonly host: string }): number {
  return Number(host.split(":")[1]);
}
