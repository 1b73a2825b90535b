/** Archives that skopeo wrote, pushed to a real registry: what arrives is what skopeo sees in it. */
import { readFile, writeFile } from "node:fs/promises";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { containerdTools, startContainerd } from "./support/containerd.ts";
import { type CorpusImage, makeCorpus, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { run } from "./support/process.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const containerd = await containerdTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined)("an archive of", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let corpus: readonly CorpusImage[];
  let app: CorpusImage;

  beforeAll(async () => {
    folder = await tempDir();
    corpus = await makeCorpus();
    source = await startDockerRegistry({ program });
    await upload(source.url, corpus);
    const [first] = corpus;
    if (first === undefined) throw new Error("the corpus is empty");
    app = first;
  });
  afterAll(async () => {
    await source.close();
    await folder[Symbol.asyncDispose]();
  });

  const copy = async (from: string, to: string, ...flags: readonly string[]): Promise<void> => {
    const args = ["--insecure-policy", "copy", "--src-tls-verify=false", ...flags, from, to];
    const outcome = await run(skopeo, args);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  };
  const of = ({ repository, tag }: CorpusImage): string => `docker://${source.host}/${repository}:${tag}`;
  const push = async (path: string, host: string, ...flags: readonly string[]): Promise<void> => {
    const pushed = await runMirror(["push", path, "--registry", host, ...flags]);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    const verified = await runMirror(["verify", path, "--registry", host, ...flags]);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
  };

  test("skopeo oci-archive keeps every digest, an index whole; its tag gets a repository", async () => {
    await using target = await startDockerRegistry({ program });
    const path = folder.join("oci.tar");
    await copy(of(app), `oci-archive:${path}:${app.tag}`, "--all", "--preserve-digests");
    await push(path, target.host, "--tag", app.repository);
    await expectManifests({ skopeo, host: target.host }, manifestsOf([app]));
    await writeFile(`${path}.gz`, gzipSync(await readFile(path)));
    await using second = await startDockerRegistry({ program });
    await push(`${path}.gz`, second.host, "--tag", `${app.repository}:${app.tag}`);
    await expectManifests({ skopeo, host: second.host }, manifestsOf([app]));
  });

  test("skopeo oci: keeps every digest, as a folder", async () => {
    await using target = await startDockerRegistry({ program });
    const path = folder.join("layout");
    const web = corpus.filter(({ repository }) => repository === "team/web");
    for (const image of web)
      await copy(of(image), `oci:${path}:${image.repository}:${image.tag}`, "--preserve-digests");
    await push(path, target.host);
    await expectManifests({ skopeo, host: target.host }, manifestsOf(web));
  });

  test("skopeo docker-archive arrives with the config and the layers that are in it", async () => {
    await using target = await startDockerRegistry({ program });
    const path = folder.join("docker.tar");
    await copy(of(app), `docker-archive:${path}:${app.repository}:${app.tag}`);
    await push(path, target.host);
    const config = async (from: string): Promise<string> => {
      const outcome = await run(skopeo, ["inspect", "--config", "--raw", "--tls-verify=false", from]);
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
      return outcome.stdout;
    };
    const arrived = `docker://${target.host}/${app.repository}:${app.tag}`;
    expect(await config(arrived)).toBe(await config(`docker-archive:${path}`));
    // Reads every layer and compares it with the config.
    await copy(arrived, `docker-archive:${folder.join("back.tar")}:${app.repository}:${app.tag}`);
    await writeFile(`${path}.zst`, zstdCompressSync(await readFile(path)));
    await using second = await startDockerRegistry({ program });
    await push(`${path}.zst`, second.host);
    const raw = async (host: string): Promise<string> =>
      (
        await run(skopeo, [
          "inspect",
          "--raw",
          "--tls-verify=false",
          `docker://${host}/${app.repository}:${app.tag}`,
        ])
      ).stdout;
    expect(digestOf(Buffer.from(await raw(second.host)))).toBe(digestOf(Buffer.from(await raw(target.host))));
  });

  test.skipIf(containerd === undefined)("ctr images export keeps names and digests", async () => {
    if (containerd === undefined) throw new Error("skipped above");
    await using daemon = await startContainerd(containerd);
    await using target = await startDockerRegistry({ program });
    const images = corpus.filter(({ repository }) => repository !== "charts/shop");
    const bundle = folder.join("bundle.tar");
    const names = images.map(({ repository, tag }) => `${source.host}/${repository}:${tag}`);
    expect(await runMirror(["pull", ...names, "--to", bundle])).toMatchObject({ code: 0 });
    expect(await daemon.ctr(["images", "import", "--all-platforms", "--no-unpack", bundle])).toMatchObject({
      code: 0,
    });
    const exported = folder.join("exported.tar");
    const outcome = await daemon.ctr(["images", "export", "--all-platforms", exported, ...names]);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    await push(exported, target.host);
    await expectManifests({ skopeo, host: target.host }, manifestsOf(images));
  });
});
