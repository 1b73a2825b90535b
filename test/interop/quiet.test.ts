/** What has not changed costs one request at each side: counted by the registries themselves. */
import { describe, expect, test } from "vitest";
import { runMirror } from "../support/cli.ts";
import { allTests } from "../support/lifetimes.ts";
import type { TempDir } from "../support/temp.ts";
import type { AccessLog } from "./support/access-log.ts";
import { type CorpusImage, digestsOf, startCorpusSource, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";

describe.skipIf(tools === undefined)("of an unchanged list", () => {
  let folder: TempDir;
  let source: DockerRegistry;
  let corpus: readonly CorpusImage[];

  allTests(
    async () => await startCorpusSource(program),
    (made) => {
      ({ folder, source, corpus } = made);
    },
  );

  const mirror = async (...args: readonly string[]) => {
    const result = await runMirror([...args, "--json"], { cwd: folder.path });
    expect(result, result.stderr).toMatchObject({ code: 0 });
    return JSON.parse(result.stdout) as { readonly images: readonly { readonly status: string }[] };
  };
  const tags = (images: readonly CorpusImage[]): readonly string[] =>
    images.map(({ repository, tag }) => `HEAD /v2/${repository}/manifests/${tag}`).sort();

  /** The requests beside the first GET /v2/, as `METHOD path`. */
  async function requestsOf(log: AccessLog): Promise<readonly string[]> {
    const all = (await log.requests()).map(({ method, path }) => `${method} ${path}`);
    expect(all.filter((request) => request === "GET /v2/")).toHaveLength(1);
    return all.filter((request) => request !== "GET /v2/").sort();
  }

  test("the second push asks once for each tag, and sends nothing", async () => {
    await using target = await startDockerRegistry({ program });
    await mirror("pull", "--to", "bundle.tar");
    const push = ["push", "bundle.tar", "--registry", target.host];
    await mirror(...push);
    await target.accessLog.clear();
    const again = await mirror(...push);
    expect(again.images.map(({ status }) => status)).toEqual(corpus.map(() => "unchanged"));
    expect(await requestsOf(target.accessLog)).toEqual(tags(corpus));
  });

  test("the second sync asks once for each tag at each side, and sends nothing", async () => {
    await using target = await startDockerRegistry({ program });
    await mirror("sync", "--registry", target.host);
    await source.accessLog.clear();
    await target.accessLog.clear();
    const again = await mirror("sync", "--registry", target.host);
    expect(again.images.map(({ status }) => status)).toEqual(corpus.map(() => "unchanged"));
    expect(await requestsOf(source.accessLog)).toEqual(tags(corpus));
    expect(await requestsOf(target.accessLog)).toEqual(tags(corpus));
  });

  test("a tag that has moved back is set again, and nothing else is sent", async () => {
    await using target = await startDockerRegistry({ program });
    await mirror("sync", "--registry", target.host);
    const [first] = corpus;
    const web = corpus.find(({ repository }) => repository === "team/web");
    if (first === undefined || web === undefined) throw new Error("the corpus lacks them");
    // Somebody sets the tag to another image.
    await upload(target.url, [{ ...web, repository: first.repository, tag: first.tag }]);
    await target.accessLog.clear();
    await mirror("sync", "--registry", target.host);
    const requests = await requestsOf(target.accessLog);
    const sent = requests.filter((request) => /^(?:PATCH|PUT) .*\/(?:blobs|manifests)\//.test(request));
    expect(sent.filter((request) => !request.includes("/manifests/"))).toEqual([]);
    expect(sent).toContain(`PUT /v2/${first.repository}/manifests/${first.tag}`);
  });

  test("the first sync sends every blob once, and mounts it into the other repositories", async () => {
    await using target = await startDockerRegistry({ program });
    await source.accessLog.clear();
    await mirror("sync", "--registry", target.host);
    const requests = await target.accessLog.requests();
    const manifests = new Set<string>();
    const everything = new Set<string>();
    for (const { content } of corpus) {
      manifests.add(content.descriptor.digest);
      if (content.kind === "index")
        for (const { descriptor } of content.children) manifests.add(descriptor.digest);
      for (const digest of digestsOf(content)) everything.add(digest);
    }
    const uploaded = requests.filter(({ method, path }) => method === "PUT" && path.includes("/blobs/"));
    expect(uploaded).toHaveLength(everything.size - manifests.size);
    // Every blob is looked for by a mount from its own repository, which opens an upload; one is there to be mounted.
    const posts = requests.filter(
      ({ method, path }) => method === "POST" && path.includes("/blobs/uploads/"),
    );
    expect(posts.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(posts.filter(({ status }) => status === 202)).toHaveLength(uploaded.length);
    expect(requests.filter(({ method, path }) => method === "HEAD" && path.includes("/blobs/"))).toEqual([]);
    expect(requests.filter(({ status }) => status >= 400 && status !== 404)).toEqual([]);
    // The shared layer is read once too.
    expect(await source.accessLog.count("GET", /\/blobs\//)).toBe(uploaded.length);
  });
});
