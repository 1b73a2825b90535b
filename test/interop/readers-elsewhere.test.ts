/** Readers of our bundle that Debian stable does not carry: crane and oras, where they are on PATH. */
import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type CorpusImage, makeCorpus, manifestsOf, upload } from "./support/corpus.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { run } from "./support/process.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools, onPath } from "./support/tools.ts";

const tools = await interopTools();
const [crane, oras] = [await onPath("crane"), await onPath("oras")];
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

describe.skipIf(tools === undefined || (crane ?? oras) === undefined)("a bundle", () => {
  let folder: TempDir;
  let host: string;
  let corpus: readonly CorpusImage[];

  beforeAll(async () => {
    folder = await tempDir();
    corpus = await makeCorpus();
    await using source = await startDockerRegistry({ program });
    host = source.host;
    await upload(source.url, corpus);
    await pull("bundle.tar", corpus);
    for (const image of corpus) await pull(`${short(image)}.tar`, [image]);
  });
  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
  });

  const short = ({ repository, tag }: CorpusImage): string => `${repository.replace("/", "-")}-${tag}`;
  const nameOf = ({ repository, tag }: CorpusImage): string => `${host}/${repository}:${tag}`;
  async function pull(to: string, images: readonly CorpusImage[]): Promise<void> {
    await succeeded(runMirror(["pull", ...images.map(nameOf), "--to", to], { cwd: folder.path }));
  }
  async function succeeded(
    running: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>,
  ): Promise<string> {
    const outcome = await running;
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    return outcome.stdout;
  }
  const alone = (image: CorpusImage): string => folder.join(`${short(image)}.tar`);

  test.skipIf(crane === undefined)("of one image, unpacked, keeps its digests with crane push", async () => {
    await using target = await startDockerRegistry({ program });
    for (const image of corpus) {
      const layout = folder.join(short(image));
      await mkdir(layout);
      await succeeded(run("tar", ["xf", alone(image), "-C", layout]));
      const to = `${target.host}/${image.repository}`;
      const pushed = await succeeded(run(crane ?? "", ["push", layout, `${to}:${image.tag}`]));
      expect(pushed.trim()).toBe(`${to}@${image.content.descriptor.digest}`);
      // What it validates is Docker's archive, and gzip only.
      if (image.repository === "charts/shop" || image.repository === "team/web") continue;
      expect(await succeeded(run(crane ?? "", ["validate", "--tarball", alone(image)]))).toMatch(/^PASS/);
    }
    await expectManifests({ skopeo, host: target.host }, manifestsOf(corpus));
  });

  test.skipIf(oras === undefined)("gives oras cp every image by its name, with its digests", async () => {
    await using target = await startDockerRegistry({ program });
    const flags = [
      "cp",
      "--recursive",
      "--to-plain-http",
      "--from-oci-layout-path",
      folder.join("bundle.tar"),
    ];
    for (const image of corpus) {
      const { repository, tag } = image;
      await succeeded(run(oras ?? "", [...flags, nameOf(image), `${target.host}/${repository}:${tag}`]));
    }
    await expectManifests({ skopeo, host: target.host }, manifestsOf(corpus));
  });

  test.skipIf(oras === undefined)(
    "of one image keeps tag and digests with oras cp and oras restore",
    async () => {
      await using copied = await startDockerRegistry({ program });
      await using restored = await startDockerRegistry({ program });
      for (const image of corpus) {
        const { repository, tag } = image;
        const from = ["--from-oci-layout", `${alone(image)}:${tag}`];
        const to = `${copied.host}/${repository}:${tag}`;
        await succeeded(run(oras ?? "", ["cp", "--recursive", "--to-plain-http", ...from, to]));
        const input = ["--plain-http", "--input", alone(image)];
        await succeeded(run(oras ?? "", ["restore", ...input, `${restored.host}/${repository}`]));
      }
      for (const { host: at } of [copied, restored])
        await expectManifests({ skopeo, host: at }, manifestsOf(corpus));
    },
  );
});
