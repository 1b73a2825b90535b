/** The second month at a real registry: a delta comes to the same as the whole, and never to something incomplete. */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BundleReader } from "../../src/bundle/reader.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, type TestImage } from "../support/images.ts";
import { makeRandomLayer, type TestLayer } from "../support/layers.ts";
import { runPipe } from "../support/shell.ts";
import { tempDir } from "../support/temp.ts";
import { type CorpusImage, listOf, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();

const images = 20;
const layersEach = 5;
const layerBytes = 200_000;

/**
 * Twenty images of five layers, of which all share the first and neighbours share the second. In the second month, the
 * last layer of every other image is another one: a tenth of all layers.
 */
async function month(second: boolean): Promise<readonly CorpusImage[]> {
  const layers = new Map<string, Promise<TestLayer>>();
  const layer = async (name: string): Promise<TestLayer> => {
    const made = layers.get(name) ?? makeRandomLayer(name, layerBytes);
    layers.set(name, made);
    return await made;
  };
  const found: CorpusImage[] = [];
  for (let at = 0; at < images; at += 1) {
    const changed = second && at % 2 === 0;
    const names = [
      "base",
      `pair ${at >> 1}`,
      ...Array.from({ length: layersEach - 2 }, (_, index) =>
        changed && index === layersEach - 3 ? `${at} ${index} again` : `${at} ${index}`,
      ),
    ];
    const own = await Promise.all(names.map(layer));
    const content = await makeImage({ seed: `image ${at}${changed ? " again" : ""}`, layers: own });
    found.push({ repository: `month/image${at}`, tag: "stable", content });
  }
  return found;
}

const blobsOf = (of: readonly CorpusImage[]): ReadonlyMap<Digest, number> =>
  new Map(
    of
      .map(({ content }) => content as TestImage)
      .flatMap(({ config, layers }) => [config, ...layers])
      .map(({ descriptor }) => [descriptor.digest, descriptor.size]),
  );

/** What a registry has stored: every blob, and every link of a repository to a blob, a manifest or a tag. */
async function storageOf({ dir }: DockerRegistry): Promise<readonly string[]> {
  const root = join(dir, "docker", "registry", "v2");
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const described = files.map(async (path) => {
    const content = path.endsWith("/link") ? await readFile(path, "utf8") : String((await stat(path)).size);
    return `${path.slice(root.length)} ${content}`;
  });
  return (await Promise.all(described)).sort();
}

test.skipIf(tools === undefined)(
  "a delta is as large as what has changed, and pushed comes to the same as the whole",
  async () => {
    const program = tools?.dockerRegistry ?? "";
    await using folder = await tempDir();
    await using source = await startDockerRegistry({ program });
    await using whole = await startDockerRegistry({ program });
    await using byBundle = await startDockerRegistry({ program });
    await using byReceipt = await startDockerRegistry({ program });
    await using byPipe = await startDockerRegistry({ program });
    const mirror = async (...args: readonly string[]): Promise<string> => {
      const result = await runMirror(args, { cwd: folder.path });
      expect(result.code, `mirror ${args.join(" ")}\n${result.stderr}`).toBe(0);
      return result.stdout;
    };
    const [october, november] = [await month(false), await month(true)];
    await writeFile(folder.join("manifests.yaml"), listOf(source.host, october));
    await upload(source.url, october);
    await mirror("pull", "--to", "october.tar");
    for (const { host } of [whole, byBundle, byReceipt, byPipe])
      await mirror("push", "october.tar", "--registry", host);
    await mirror("receipt", "--registry", byReceipt.host, "--to", "receipt.json");

    await upload(source.url, november);
    await mirror("pull", "--to", "november.tar");
    await mirror("pull", "--to", "by-bundle.tar", "--base", "october.tar");
    await mirror("pull", "--to", "by-receipt.tar", "--base", "receipt.json");

    const before = blobsOf(october);
    const changed = [...blobsOf(november)].filter(([digest]) => !before.has(digest));
    const changedBytes = changed.reduce((sum, [, size]) => sum + size, 0);
    for (const name of ["by-bundle.tar", "by-receipt.tar"]) {
      await using delta = await BundleReader.open(folder.join(name));
      const { manifests } = delta.contents;
      const kept = new Set(manifests.map(({ digest }) => digest));
      const content = [...delta.blobs()].filter(({ digest }) => !kept.has(digest));
      expect(new Set(content.map(({ digest }) => digest))).toEqual(
        new Set(changed.map(([digest]) => digest)),
      );
      const metadataBytes = Math.min(...content.map(({ headerOffset }) => headerOffset));
      expect(delta.totalBytes - metadataBytes).toBeLessThanOrEqual(changedBytes * 1.01);
      expect(metadataBytes).toBeLessThan(200_000);
    }
    await mirror("verify", "by-bundle.tar", "--base", "october.tar");

    await mirror("push", "november.tar", "--registry", whole.host);
    await byBundle.accessLog.clear();
    await mirror("push", "by-bundle.tar", "--registry", byBundle.host);
    // Nothing that was left out is sent.
    expect(await byBundle.accessLog.count("PUT", /\/blobs\/uploads\//)).toBe(changed.length);
    await mirror("push", "by-receipt.tar", "--registry", byReceipt.host);
    await byPipe.accessLog.clear();
    const line = `mirror pull --base receipt.json --to - | mirror push - --registry ${byPipe.host}`;
    const piped = await runPipe(line, { cwd: folder.path });
    expect(piped.codes, piped.stderr).toEqual([0, 0]);
    expect(await byPipe.accessLog.count("PUT", /\/blobs\/uploads\//)).toBe(changed.length);
    const expected = await storageOf(whole);
    expect(expected.length).toBeGreaterThan(images * layersEach);
    expect(await storageOf(byBundle)).toEqual(expected);
    expect(await storageOf(byReceipt)).toEqual(expected);
    expect(await storageOf(byPipe)).toEqual(expected);
    await mirror("verify", "november.tar", "--registry", byBundle.host);
    const receiptOf = async ({ host }: DockerRegistry): Promise<string> =>
      (await mirror("receipt", "--registry", host)).replaceAll(host, "HOST");
    expect(await receiptOf(byBundle)).toBe(await receiptOf(whole));
  },
  120_000,
);

test.skipIf(tools === undefined)(
  "an empty registry is not written to, and everything that it lacks is named",
  async () => {
    const program = tools?.dockerRegistry ?? "";
    await using folder = await tempDir();
    await using source = await startDockerRegistry({ program });
    await using empty = await startDockerRegistry({ program });
    const [october, november] = [await month(false), await month(true)];
    await writeFile(folder.join("manifests.yaml"), listOf(source.host, october));
    await upload(source.url, october);
    const run = async (...args: readonly string[]) => await runMirror(args, { cwd: folder.path });
    expect((await run("pull", "--to", "october.tar")).code).toBe(0);
    await upload(source.url, november);
    expect((await run("pull", "--to", "delta.tar", "--base", "october.tar")).code).toBe(0);
    const result = await run("push", "delta.tar", "--registry", empty.host, "--json");
    expect(result.code, result.stderr).toBe(1);
    const methods = new Set((await empty.accessLog.requests()).map(({ method }) => method));
    expect([...methods].sort()).toEqual(["GET", "HEAD"]);
    const { missing } = JSON.parse(result.stdout) as {
      readonly missing: readonly { readonly digest: Digest }[];
    };
    const before = blobsOf(october);
    const leaned = [...blobsOf(november).keys()].filter((digest) => before.has(digest));
    expect(new Set(missing.map(({ digest }) => digest))).toEqual(new Set(leaned));
    expect(await readdir(empty.dir).catch(() => [])).toEqual([]);
  },
);
