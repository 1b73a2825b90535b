/** sync, verify, ls and inspect with real registries at both ends. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { makeImage } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import { type CorpusImage, manifestsOf, startCorpusSource, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined)("between docker-registries", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let corpus: readonly CorpusImage[];

  allTests(
    async () => await startCorpusSource(program),
    (made) => {
      ({ folder, source, corpus } = made);
    },
  );

  const mirror = (...args: readonly string[]) => runMirror(args, { cwd: folder.path });
  const expectDone = async (...args: readonly string[]) => {
    const result = await mirror(...args);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    return result.stdout;
  };

  test("sync copies everything, below a prefix too", async () => {
    await using target = await startDockerRegistry({ program });
    await expectDone("sync", "--registry", target.host);
    await expectManifests({ skopeo, host: target.host }, manifestsOf(corpus));
    await expectDone("sync", "--registry", `${target.host}/mirror/of`);
    const moved = corpus.map((image) => ({ ...image, repository: `mirror/of/${image.repository}` }));
    await expectManifests({ skopeo, host: target.host }, manifestsOf(moved));
  });

  test("verify proves that a registry holds a bundle, and names what it does not", async () => {
    await using target = await startDockerRegistry({ program });
    await expectDone("pull", "--to", "bundle.tar");
    const verify = ["verify", "bundle.tar", "--registry", target.host];
    const empty = await mirror(...verify);
    expect(empty, empty.stderr).toMatchObject({ code: 4 });
    expect(empty.stderr).toContain("team/app:1.0 is not there");

    await expectDone("push", "bundle.tar", "--registry", target.host);
    expect(await expectDone(...verify)).toContain("5 images");

    const web = corpus.find(({ repository }) => repository === "team/web");
    const layer = web?.content.kind === "image" ? (web.content.layers[1]?.descriptor.digest ?? "") : "";
    const hex = layer.slice("sha256:".length);
    const blobs = join(target.dir, "docker", "registry", "v2", "blobs", "sha256");
    await rm(join(blobs, hex.slice(0, 2), hex), { recursive: true });
    const lost = await mirror(...verify);
    expect(lost, lost.stderr).toMatchObject({ code: 4, stdout: "" });
    expect(lost.stderr).toContain(`layer ${layer} is not in team/web`);
    expect(lost.stderr).toContain(`${source.host}/team/web:1.0:`);
  });

  test("ls lists a catalog of more pages than one, and pull takes what it prints", async () => {
    const many = Array.from({ length: 130 }, (_, at) => `many/r${String(at).padStart(3, "0")}`);
    const content = await makeImage({ layers: [100], seed: "many" });
    const images = many.map((repository): CorpusImage => ({ repository, tag: "1.0", content }));
    await using registry = await startDockerRegistry({ program });
    await upload(registry.url, images);
    const expected = many.map((repository) => `${registry.host}/${repository}:1.0`);
    expect((await expectDone("ls", registry.host)).trim().split("\n")).toEqual(expected);

    // The same content behind a registry that gives 50 at most, and refuses to be asked for more.
    await using small = await startDockerRegistry({ program, dir: registry.dir, catalogMaxEntries: 50 });
    const listed = await expectDone("ls", small.host);
    expect(listed.replaceAll(small.host, registry.host).trim().split("\n")).toEqual(expected);
    expect(await small.accessLog.count("GET", /\/_catalog$/)).toBeGreaterThanOrEqual(3);

    const to = folder.join("many.tar");
    const args = ["pull", "--file", "-", "--to", to, "--json"];
    const pulled = await runMirror(args, { stdin: listed });
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    expect((JSON.parse(pulled.stdout) as { images: unknown[] }).images).toHaveLength(many.length);
  });

  test("ls lists the tags of one repository", async () => {
    const listed = await expectDone("ls", `${source.host}/team/app`);
    expect(listed).toBe(`${source.host}/team/app:1.0\n${source.host}/team/app:stable\n`);
    const absent = await mirror("ls", `${source.host}/team/nothing`);
    expect(absent).toMatchObject({ code: 1, stdout: "" });
    expect(absent.stderr).toContain("has no such repository");
  });

  test("inspect tells what each image is made of", async () => {
    for (const { repository, tag, content } of corpus) {
      const name = `${source.host}/${repository}:${tag}`;
      const { images } = JSON.parse(await expectDone("inspect", name, "--json")) as {
        readonly images: readonly unknown[];
      };
      const manifests = content.kind === "index" ? content.children : [content];
      expect(images).toMatchObject([
        {
          image: name,
          digest: content.descriptor.digest,
          mediaType: content.descriptor.mediaType,
          manifests: manifests.map(({ descriptor: { digest, mediaType } }) => ({ digest, mediaType })),
        },
      ]);
    }
    const text = await expectDone("inspect", `${source.host}/legacy/tool:2.0`);
    expect(text).toContain("linux/amd64");
    expect(text).toContain("linux/arm64");
  });
});
