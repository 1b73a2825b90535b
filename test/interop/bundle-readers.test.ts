/** One file for every reader: the bundle as tar, skopeo and containerd take it. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { containerdTools, startContainerd } from "./support/containerd.ts";
import { type CorpusImage, digestsOf, listOf, makeCorpus, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { run } from "./support/process.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const containerd = await containerdTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined)("a bundle", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let corpus: readonly CorpusImage[];
  let bundle: string;

  beforeAll(async () => {
    folder = await tempDir();
    corpus = await makeCorpus();
    source = await startDockerRegistry({ program });
    await upload(source.url, corpus);
    bundle = folder.join("bundle.tar");
    await pull(corpus, bundle);
  });

  afterAll(async () => {
    await source.close();
    await folder[Symbol.asyncDispose]();
  });

  async function pull(images: readonly CorpusImage[], to: string, ...flags: readonly string[]) {
    await using work = await tempDir();
    await writeFile(work.join("manifests.yaml"), listOf(source.host, images));
    const pulled = await runMirror(["pull", "--to", to, ...flags], { cwd: work.path });
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  }

  const nameOf = ({ repository, tag }: CorpusImage): string => `${source.host}/${repository}:${tag}`;
  const inspect = async (reference: string, ...flags: readonly string[]) => {
    const outcome = await run(skopeo, ["inspect", ...flags, reference]);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    return outcome.stdout;
  };
  const copy = async (from: string, to: string, ...flags: readonly string[]): Promise<void> => {
    const args = ["--insecure-policy", "copy", "--dest-tls-verify=false", ...flags, from, to];
    const outcome = await run(skopeo, args);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  };

  test("is a plain tar of regular files, each of them once", async () => {
    const listed = await run("tar", ["tf", bundle]);
    expect(listed).toMatchObject({ code: 0, stderr: "" });
    const blobs = new Set(corpus.flatMap(({ content }) => digestsOf(content)));
    const names = listed.stdout.trim().split("\n");
    expect(names.slice(0, 4)).toEqual(["oci-layout", "index.json", "manifest.json", "mirror.json"]);
    expect(names.slice(4).sort()).toEqual(
      [...blobs].map((digest) => `blobs/${digest.replace(":", "/")}`).sort(),
    );
    const detailed = await run("tar", ["tvf", bundle]);
    for (const line of detailed.stdout.trim().split("\n")) expect(line).toMatch(/^-rw-r--r-- /);
    const extracted = folder.join("extracted");
    await mkdir(extracted);
    expect(await run("tar", ["xf", bundle, "-C", extracted])).toMatchObject({ code: 0, stderr: "" });
    for (const hex of await readdir(`${extracted}/blobs/sha256`)) {
      expect(digestOf(await readFile(`${extracted}/blobs/sha256/${hex}`))).toBe(`sha256:${hex}`);
    }
  });

  test("is the same, byte for byte, when it is pulled again", async () => {
    const again = folder.join("again.tar");
    await pull(corpus, again, "--concurrency", "1");
    expect(await run("cmp", [bundle, again])).toEqual({ code: 0, stdout: "", stderr: "" });
    const other = folder.join("other.tar");
    await pull(corpus.slice(1), other);
    expect((await run("cmp", [bundle, other])).code).toBe(1);
  });

  test("gives skopeo every OCI image by its name with its digests, indexes whole", async () => {
    const named = corpus.filter(({ content }) => content.descriptor.mediaType.includes(".oci."));
    expect(named).toHaveLength(corpus.length - 1);
    await using target = await startDockerRegistry({ program });
    for (const image of named) {
      const { repository, tag, content } = image;
      const from = `oci-archive:${bundle}:${nameOf(image)}`;
      expect(await inspect(from, "--raw")).toBe(content.manifest.toString("utf8"));
      await copy(from, `docker://${target.host}/${repository}:${tag}`, "--all", "--preserve-digests");
    }
    await expectManifests({ skopeo, host: target.host }, manifestsOf(named));
  });

  // By name, the oci-archive reader of containers/image looks at OCI media types only.
  test("of a Docker manifest list alone gives skopeo that with its digests", async () => {
    const list = corpus.filter(({ repository }) => repository === "legacy/tool");
    const alone = folder.join("list.tar");
    await pull(list, alone);
    await using target = await startDockerRegistry({ program });
    const to = `docker://${target.host}/legacy/tool:2.0`;
    await copy(`oci-archive:${alone}`, to, "--all", "--preserve-digests");
    await expectManifests({ skopeo, host: target.host }, manifestsOf(list));
  });

  test("gives skopeo one platform of an index as its child", async () => {
    const [app] = corpus;
    if (app?.content.kind !== "index") throw new Error("the corpus begins with an index");
    const to = folder.join("platform");
    const flags = ["--override-arch=arm64", "--override-os=linux", "--preserve-digests"];
    await copy(`oci-archive:${bundle}:${nameOf(app)}`, `dir:${to}`, ...flags);
    const arm = app.content.children.find(({ descriptor }) => descriptor.platform?.architecture === "arm64");
    expect(digestOf(await readFile(`${to}/manifest.json`))).toBe(arm?.descriptor.digest);
  });

  test("of one image needs no name, and is called by its tag", async () => {
    const web = corpus.filter(({ repository }) => repository === "team/web");
    const alone = folder.join("alone.tar");
    await pull(web, alone);
    const text = web[0]?.content.manifest.toString("utf8");
    expect(await inspect(`oci-archive:${alone}`, "--raw")).toBe(text);
    expect(await inspect(`oci-archive:${alone}:1.0`, "--raw")).toBe(text);
    expect(JSON.parse(await inspect(`docker-archive:${alone}`))).toMatchObject({ Architecture: "amd64" });
  });

  test("is a docker-archive of every image that Docker can run", async () => {
    for (const image of corpus) {
      const from = `docker-archive:${bundle}:${nameOf(image)}`;
      if (image.repository === "charts/shop") {
        expect(await run(skopeo, ["inspect", from])).toMatchObject({ code: 1 });
        continue;
      }
      const { content } = image;
      const child = content.kind === "index" ? content.children[0] : content;
      const config = child?.kind === "image" ? child.config.bytes.toString("utf8") : "";
      expect(JSON.parse(await inspect(from, "--config"))).toEqual(JSON.parse(config));
      // Reads every layer, and compares what is inside with the config's list.
      await copy(from, `dir:${folder.join(`docker-${image.repository.replace("/", "-")}-${image.tag}`)}`);
    }
  });

  test.skipIf(containerd === undefined)("is imported by containerd as it is, all platforms", async () => {
    if (containerd === undefined) throw new Error("skipped above");
    await using daemon = await startContainerd(containerd);
    const imported = await daemon.ctr(["images", "import", "--all-platforms", "--no-unpack", bundle]);
    expect(imported, imported.stderr).toMatchObject({ code: 0 });
    const listed = await daemon.ctr(["images", "ls"]);
    const rows = listed.stdout.trim().split("\n").slice(1);
    expect(rows.map((row) => row.split(/\s+/).slice(0, 3).join(" ")).sort()).toEqual(
      corpus
        .map((image) => ({ name: nameOf(image), ...image.content.descriptor }))
        .map(({ name, mediaType, digest }) => `${name} ${mediaType} ${digest}`)
        .sort(),
    );
    const held = (await daemon.ctr(["content", "ls", "-q"])).stdout.trim().split("\n");
    expect(held).toEqual(expect.arrayContaining(corpus.flatMap(({ content }) => digestsOf(content))));
  });

  test.skipIf(containerd === undefined)("is imported by containerd for its own platform", async () => {
    if (containerd === undefined) throw new Error("skipped above");
    await using daemon = await startContainerd(containerd);
    const imported = await daemon.ctr(["images", "import", "--no-unpack", bundle]);
    expect(imported, imported.stderr).toMatchObject({ code: 0 });
    const names = (await daemon.ctr(["images", "ls", "-q"])).stdout.trim().split("\n");
    expect(names.sort()).toEqual(corpus.map(nameOf).sort());
  });
});
