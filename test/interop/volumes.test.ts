/** A bundle in fifty volumes on its way to a real docker-registry: one volume is lost, and one is damaged. */
import { readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { makeImage } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type CorpusImage, listOf, manifestsOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { expectManifests } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
const volumes = 50;
const [lost, hurt] = [17, 23];
const sizes = [2_600_000, 1_500_000, 400_000];

describe.skipIf(tools === undefined)("a bundle in fifty volumes", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let target: DockerRegistry;
  let corpus: readonly CorpusImage[];

  beforeAll(async () => {
    folder = await tempDir();
    [source, target] = [await startDockerRegistry({ program }), await startDockerRegistry({ program })];
    corpus = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => ({
        repository: `team/part-${index}`,
        tag: "1.0",
        content: await makeImage({ seed: `part ${index}`, layers: sizes }),
      })),
    );
    await upload(source.url, corpus);
    await writeFile(folder.join("manifests.yaml"), listOf(source.host, corpus));
  });

  afterAll(async () => {
    for (const registry of [source, target]) await registry.close();
    await folder[Symbol.asyncDispose]();
  });

  const mirror = async (...args: readonly string[]) => await runMirror(args, { cwd: folder.path });
  const file = (volume: number): string => folder.join(`set.tar.${String(volume).padStart(3, "0")}`);
  /** The uploads that the target has completed since its log was cleared. */
  const stored = async (): Promise<string[]> =>
    (await target.accessLog.requests()).flatMap(({ method, query, status }) => {
      const digest = method === "PUT" && status === 201 ? new URLSearchParams(query).get("digest") : null;
      return digest === null ? [] : [digest];
    });

  test("verify names a lost and a damaged one, and push sends nothing twice once they are there", async () => {
    expect((await mirror("pull", "--to", "plain.tar")).code).toBe(0);
    const bytes = Math.ceil((await stat(folder.join("plain.tar"))).size / volumes);
    const pulled = await mirror(
      "pull",
      "--to",
      "set.tar",
      "--reuse",
      "plain.tar",
      "--volume-size",
      `${bytes}B`,
    );
    expect(pulled.code, pulled.stderr).toBe(0);
    const names = (await readdir(folder.path)).filter((name) => name.startsWith("set.tar."));
    expect(names).toHaveLength(volumes);
    const parts = await Promise.all(names.toSorted().map(async (name) => await readFile(folder.join(name))));
    expect(Buffer.concat(parts).equals(await readFile(folder.join("plain.tar")))).toBe(true);

    await rename(file(lost), folder.join("away"));
    const right = await readFile(file(hurt));
    const wrong = Buffer.from(right);
    wrong.writeUInt8(wrong.readUInt8(500_000) ^ 1, 500_000);
    await writeFile(file(hurt), wrong);

    const verified = await mirror("verify", "set.tar");
    expect(verified.code).toBe(4);
    const told = verified.stderr.match(/volume \d+ of 50: set\.tar\.\d+ is \w+; it holds all or part of \d/g);
    expect(told).toEqual([
      expect.stringContaining(`volume ${lost} of 50: set.tar.017 is missing; it holds`),
      expect.stringContaining(`volume ${hurt} of 50: set.tar.023 is damaged; it holds`),
    ]);

    await target.accessLog.clear();
    const first = await mirror("push", "set.tar", "--registry", target.host);
    expect(first.code, first.stderr).toBe(4);
    const sent = await stored();
    expect(sent.length).toBeGreaterThan(40);

    await rename(folder.join("away"), file(lost));
    await writeFile(file(hurt), right);
    await target.accessLog.clear();
    const second = await mirror("push", "set.tar", "--registry", target.host);
    expect(second.code, second.stderr).toBe(0);
    const rest = await stored();
    expect(rest.filter((digest) => sent.includes(digest))).toEqual([]);
    const blobs = corpus.flatMap(({ content }) =>
      content.kind === "image"
        ? [content.config, ...content.layers].map((blob) => blob.descriptor.digest)
        : [],
    );
    expect([...sent, ...rest].toSorted()).toEqual(blobs.toSorted());
    await expectManifests({ skopeo, host: target.host }, manifestsOf(corpus));
  });
});
