/**
 * The promise of the first page: a list, a bundle, a plain-HTTP registry at a private address, and no flag. In a
 * network namespace, 10.141.241.175:32000 is a real registry.
 */
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { cleanEnvironment, programPath } from "../support/cli.ts";
import { tempDir } from "../support/temp.ts";
import { listOf, makeCorpus, manifestsOf, upload } from "./support/corpus.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { canMakeNamespaces, makeNamespace } from "./support/namespace.ts";
import { expectManifests, type SkopeoView } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const namespaces = await canMakeNamespaces();
if (!namespaces) console.error("AIR-GAP TESTS CANNOT RUN: network namespaces need root and iproute2");

test.skipIf(tools === undefined || !namespaces)(
  "pull and push need no flag for plain-HTTP registries at private addresses",
  async () => {
    const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
    await using folder = await tempDir();
    const corpus = await makeCorpus();
    const content = folder.join("source");
    {
      // The namespace cannot be reached from here: the content is put into place before.
      await using outside = await startDockerRegistry({ program, dir: content });
      await upload(outside.url, corpus);
    }
    await using namespace = await makeNamespace(["10.141.241.175", "10.141.241.176"]);
    const netns = namespace.name;
    await using source = await startDockerRegistry({
      program,
      netns,
      dir: content,
      host: "10.141.241.176",
      port: 5000,
    });
    await using target = await startDockerRegistry({ program, netns, host: "10.141.241.175", port: 32000 });
    await writeFile(folder.join("manifests.yaml"), listOf(source.host, corpus));

    const clean = Object.entries(cleanEnvironment(folder.path)).map(
      ([name, value = ""]) => `${name}=${value}`,
    );
    const mirror = (...args: readonly string[]) =>
      namespace.exec("env", ["-i", ...clean, process.execPath, programPath, ...args], { cwd: folder.path });
    const pulled = await mirror("pull", "--to", "bundle.tar");
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    const pushed = await mirror("push", "bundle.tar", "--registry", "10.141.241.175:32000");
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    // One line for each registry tells that nothing is encrypted, and nothing else is wrong.
    expect(pulled.stderr.match(/warning/gi)).toHaveLength(1);
    expect(pulled.stderr).toContain("10.141.241.176:5000 speaks plain HTTP");
    expect(pushed.stderr.match(/warning/gi)).toHaveLength(1);
    expect(pushed.stderr).toContain("10.141.241.175:32000 speaks plain HTTP");

    const view = { skopeo, runner: namespace.exec } satisfies Partial<SkopeoView>;
    const manifests = manifestsOf(corpus);
    expect(manifests.length).toBeGreaterThan(corpus.length);
    await expectManifests({ ...view, host: source.host }, manifests);
    await expectManifests({ ...view, host: target.host }, manifests);
    // skopeo fetches every blob and proves its digest.
    for (const [at, { repository, tag }] of corpus.entries()) {
      const from = `docker://${target.host}/${repository}:${tag}`;
      const args = ["--insecure-policy", "copy", "--all", "--src-tls-verify=false", from];
      const copied = await namespace.exec(skopeo, [...args, `dir:${folder.join(`copy-${at}`)}`]);
      expect(copied, copied.stderr).toMatchObject({ code: 0 });
    }
  },
);
