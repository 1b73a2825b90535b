/** A pipe from one real registry to another. */
import { readdir, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { runPipe } from "../support/shell.ts";
import { tempDir } from "../support/temp.ts";
import { listOf, makeCorpus, makeLongImage, upload } from "./support/corpus.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";
const MiB = 1024 * 1024;

describe.skipIf(tools === undefined)("a pipe between two docker-registries", () => {
  test("brings everything across, with nothing on the disk", async () => {
    await using near = await startDockerRegistry({ program });
    await using far = await startDockerRegistry({ program });
    await using folder = await tempDir();
    const images = [...(await makeCorpus()), await makeLongImage(2, 40 * MiB)];
    await upload(near.url, images);
    await using lists = await tempDir();
    const list = lists.join("manifests.yaml");
    await writeFile(list, listOf(near.host, images));
    const line = `mirror pull -f ${list} --to - | mirror push - --registry ${far.host}/mirror`;
    const result = await runPipe(line, { cwd: folder.path, env: { TMPDIR: folder.path } });
    expect(result.codes, result.stderr).toEqual([0, 0]);
    expect(await readdir(folder.path)).toEqual([]);
    const proof = `mirror pull -f ${list} --to - | mirror verify - --registry ${far.host}/mirror`;
    const proved = await runPipe(proof, { cwd: folder.path });
    expect(proved.codes, proved.stderr).toEqual([0, 0]);
    const listed = await runMirror(["ls", far.host]);
    expect(listed.stdout.trim().split("\n").length).toBeGreaterThanOrEqual(images.length);
  });
});
