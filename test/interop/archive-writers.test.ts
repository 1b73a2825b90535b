/**
 * Archives that real programs wrote, as a file, in gzip, and through a pipe: each time the same content is at the target,
 * down to the bytes of the layers, and what can be run prints its line.
 */
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeImage, makeIndex } from "../support/images.ts";
import { makeRandomLayer, randomBytesOf } from "../support/layers.ts";
import { runPipe } from "../support/shell.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { busyboxTool, makeContext } from "./support/builder.ts";
import { containerdTools, startContainerd } from "./support/containerd.ts";
import { type ContentAt, configAt, contentAt } from "./support/content-at.ts";
import { type CorpusImage, upload } from "./support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "./support/docker-registry.ts";
import { type Dockerd, dockerTools, startDockerd } from "./support/dockerd.ts";
import { makePodman, podmanTools } from "./support/podman.ts";
import { type Outcome, run } from "./support/process.ts";
import { interopTools, onPath } from "./support/tools.ts";

const tools = await interopTools();
const docker = await dockerTools();
const podman = await podmanTools();
const containerd = await containerdTools();
const busybox = (await busyboxTool())?.busybox ?? "";
const [oras, crane] = [await onPath("oras"), await onPath("crane")];
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};
const MiB = 1024 * 1024;
const line = "hello from an archive";

/** What a program wrote, and what it should come to. */
interface Written {
  readonly path: string;
  readonly flags?: readonly string[];
  readonly images: readonly {
    readonly repository: string;
    readonly tag: string;
    readonly content: readonly Partial<ContentAt>[];
  }[];
}

let folder: TempDir;
let target: DockerRegistry;

function expectDone(outcome: Outcome): void {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}

/** Pushes an archive in every way, each under a prefix of its own, and gives the prefixes. */
async function pushed({ path, flags = [], images }: Written): Promise<readonly string[]> {
  const bytes = await readFile(path);
  await writeFile(`${path}.gz`, gzipSync(bytes, { level: 1 }));
  const name = path.slice(folder.path.length + 1);
  const prefix = name.replace(/[^a-z]/g, "");
  const ways = { file: name, gzip: `${name}.gz`, pipe: `< ${name}`, gzipped: `< ${name}.gz` };
  const prefixes: string[] = [];
  for (const [way, from] of Object.entries(ways)) {
    const registry = `${target.host}/${prefix}/${way}`;
    const rest = `--registry ${registry} ${flags.join(" ")}`;
    const argument = from.startsWith("<") ? `- ${rest} ${from}` : `${from} ${rest}`;
    for (const command of way.startsWith("gzip") ? ["push"] : ["push", "verify"]) {
      const result = await runPipe(`mirror ${command} ${argument}`, { cwd: folder.path });
      expect(result.codes, `${command} ${from}: ${result.stderr}`).toEqual([0]);
    }
    for (const { repository, tag, content } of images) {
      const found = await contentAt(target.host, `${prefix}/${way}/${repository}`, tag);
      expect(found, `${way} of ${path}`).toMatchObject(content);
      for (const { config, diffIds } of found)
        expect(await configAt(target.host, `${prefix}/${way}/${repository}`, config)).toMatchObject({
          rootfs: { diff_ids: diffIds },
        });
    }
    prefixes.push(`${prefix}/${way}`);
  }
  return prefixes;
}

beforeAll(async () => {
  folder = await tempDir();
  if (tools !== undefined) target = await startDockerRegistry({ program });
});
afterAll(async () => {
  await target?.close();
  await folder[Symbol.asyncDispose]();
});

/** A context whose image has a layer that is not kept in memory. */
async function makeLargeContext(path: string): Promise<void> {
  await makeContext(path, busybox, line);
  await writeFile(`${path}/data`, randomBytesOf("archive writers", 9 * MiB));
  await appendFile(`${path}/Dockerfile`, "COPY data /data\n");
}

describe.skipIf(tools === undefined || docker === undefined || busybox === "")("docker save", () => {
  let daemon: Dockerd;
  beforeAll(async () => {
    if (docker === undefined) return;
    daemon = await startDockerd(docker);
    await makeLargeContext(folder.join("docker"));
    const [base, above] = [folder.join("docker"), folder.join("above")];
    expectDone(await daemon.docker(["build", "--tag", "team/hello:1.0", base]));
    // Another image over the same layers: docker save links to them.
    await makeContext(above, busybox, line);
    await writeFile(`${above}/Dockerfile`, "FROM team/hello:1.0\nCOPY busybox /bin/again\n");
    expectDone(await daemon.docker(["build", "--tag", "team/above:2.0", above]));
  }, 120_000);
  afterAll(async () => await daemon?.[Symbol.asyncDispose]());

  const contentOf = async (name: string): Promise<Partial<ContentAt>> => {
    const outcome = await daemon.docker(["image", "inspect", name]);
    expectDone(outcome);
    const [found] = JSON.parse(outcome.stdout) as [
      { Id: ContentAt["config"]; RootFS: { Layers: ContentAt["diffIds"] } },
    ];
    return { config: found.Id, diffIds: found.RootFS.Layers };
  };

  test("brings config and layers of every image, which run", async () => {
    const path = folder.join("saved.tar");
    const names = ["team/hello:1.0", "team/above:2.0"];
    expectDone(await daemon.docker(["save", "--output", path, ...names]));
    const images = await Promise.all(
      names.map(async (name) => {
        const [repository = "", tag = ""] = name.split(":");
        return { repository, tag, content: [await contentOf(name)] };
      }),
    );
    for (const prefix of await pushed({ path, images })) {
      const name = `${target.host}/${prefix}/team/above:2.0`;
      expectDone(await daemon.docker(["pull", name]));
      const printed = await daemon.docker(["run", "--rm", "--network", "none", name]);
      expect(printed).toEqual({ code: 0, stdout: `${line}\n`, stderr: "" });
    }
  }, 240_000);

  test("comes through a pipe as it is written, under a name of its own", async () => {
    const to = `mirror push - --registry ${target.host}/piped`;
    const env = { DOCKER_HOST: daemon.host };
    const plain = await runPipe(`docker save team/hello:1.0 | ${to}`, { cwd: folder.path, env });
    expect(plain.codes, plain.stderr).toEqual([0, 0]);
    const content = [await contentOf("team/hello:1.0")];
    expect(await contentAt(target.host, "piped/team/hello", "1.0")).toMatchObject(content);
    const { config = "" } = content[0] ?? {};
    // By its id, it has no name.
    const named = `docker save ${config} | gzip -1 | ${to} --tag other/name:7`;
    const result = await runPipe(named, { cwd: folder.path, env });
    expect(result.codes, result.stderr).toEqual([0, 0, 0]);
    expect(await contentAt(target.host, "piped/other/name", "7")).toMatchObject(content);
  }, 60_000);
});

describe.skipIf(tools === undefined || podman === undefined || busybox === "")("podman save", () => {
  test.each(["docker-archive", "oci-archive"])(
    "--format %s brings config and layers, which run",
    async (format) => {
      if (podman === undefined) throw new Error("skipped above");
      await using storage = await makePodman(podman);
      await makeLargeContext(folder.join(format));
      expectDone(await storage.buildah(["build", "--tag", "localhost/team/hello:1.0", folder.join(format)]));
      const path = folder.join(`podman-${format}.tar`);
      expectDone(
        await storage.podman(["save", "--format", format, "--output", path, "localhost/team/hello:1.0"]),
      );
      const outcome = await storage.podman(["image", "inspect", "localhost/team/hello:1.0"]);
      const [found] = JSON.parse(outcome.stdout) as [
        { Id: string; RootFS: { Layers: ContentAt["diffIds"] } },
      ];
      const diffIds = found.RootFS.Layers;
      const config = `sha256:${found.Id}` as ContentAt["config"];
      const content = [format === "docker-archive" ? { diffIds } : { config, diffIds }];
      const prefixes = await pushed({ path, images: [{ repository: "team/hello", tag: "1.0", content }] });
      for (const prefix of prefixes) {
        const name = `${target.host}/${prefix}/team/hello:1.0`;
        expectDone(await storage.podman(["pull", "--tls-verify=false", name]));
        const printed = await storage.podman(["run", "--rm", "--network", "none", name]);
        expect(printed).toEqual({ code: 0, stdout: `${line}\n`, stderr: "" });
      }
    },
    240_000,
  );
});

describe.skipIf(tools === undefined)("from a registry", () => {
  let source: DockerRegistry;
  let app: CorpusImage;
  let whole: readonly ContentAt[];
  const of = (): string => `${source.host}/${app.repository}:${app.tag}`;

  beforeAll(async () => {
    if (tools === undefined) return;
    source = await startDockerRegistry({ program });
    const layer = await makeRandomLayer("archive writers", 9 * MiB);
    const images = ["linux/amd64", "linux/arm64"].map(
      async (platform) => await makeImage({ platform, seed: platform, layers: [layer, 3000] }),
    );
    app = { repository: "team/app", tag: "1.0", content: makeIndex(await Promise.all(images)) };
    await upload(source.url, [app]);
    whole = await contentAt(source.host, app.repository, app.tag);
  });
  afterAll(async () => await source?.close());

  const copy = async (to: string, ...flags: readonly string[]): Promise<void> => {
    const args = ["--insecure-policy", "copy", "--src-tls-verify=false", ...flags, `docker://${of()}`, to];
    expectDone(await run(skopeo, args));
  };
  const expected = (content: Written["images"][number]["content"]): Written["images"] => [
    { repository: app.repository, tag: app.tag, content },
  ];

  test("skopeo writes an oci-archive, digests kept", async () => {
    const path = folder.join("skopeo-oci.tar");
    await copy(`oci-archive:${path}:${app.repository}:${app.tag}`, "--all", "--preserve-digests");
    await pushed({ path, images: expected(whole) });
  }, 120_000);

  test("skopeo writes a docker-archive, of one platform", async () => {
    const path = folder.join("skopeo-docker.tar");
    await copy(`docker-archive:${path}:${app.repository}:${app.tag}`, "--override-arch", "amd64");
    const diffIds = whole[0]?.diffIds ?? [];
    await pushed({ path, images: expected([{ diffIds }]) });
  }, 120_000);

  test("skopeo writes a docker-archive into a pipe, and an oci-archive into one with a name", async () => {
    const name = `${app.repository}:${app.tag}`;
    const from = `${skopeo} --insecure-policy copy --quiet --src-tls-verify=false docker://${of()}`;
    const push = (prefix: string): string => `mirror push - --registry ${target.host}/${prefix}`;
    const docker = `${from} --override-arch amd64 docker-archive:/dev/stdout:${name} | ${push("dockerpipe")}`;
    const plain = await runPipe(docker, { cwd: folder.path });
    expect(plain.codes, plain.stderr).toEqual([0, 0]);
    const found = await contentAt(target.host, `dockerpipe/${app.repository}`, app.tag);
    expect(found).toMatchObject([{ diffIds: whole[0]?.diffIds }]);
    const oci = `{ mkfifo fifo; ${from} --all oci-archive:fifo:${name} & cat fifo; } | ${push("ocipipe")}`;
    const fifo = await runPipe(oci, { cwd: folder.path });
    expect(fifo.codes, fifo.stderr).toEqual([0, 0]);
    expect(await contentAt(target.host, `ocipipe/${app.repository}`, app.tag)).toEqual(whole);
  }, 60_000);

  test.skipIf(containerd === undefined)(
    "ctr exports all platforms, digests kept",
    async () => {
      if (containerd === undefined) throw new Error("skipped above");
      await using daemon = await startContainerd(containerd);
      expectDone(await daemon.ctr(["images", "pull", "--plain-http", "--all-platforms", of()]));
      const path = folder.join("ctr-export.tar");
      expectDone(await daemon.ctr(["images", "export", "--all-platforms", path, of()]));
      await pushed({ path, images: expected(whole) });
    },
    120_000,
  );

  test.skipIf(oras === undefined)(
    "oras backs up, digests kept",
    async () => {
      const path = folder.join("oras-backup.tar");
      expectDone(await run(oras ?? "", ["backup", "--plain-http", "--output", path, of()]));
      await pushed({ path, flags: ["--tag", app.repository], images: expected(whole) });
    },
    120_000,
  );

  test.skipIf(crane === undefined)(
    "crane pulls a tarball, compressed layers kept",
    async () => {
      const path = folder.join("crane-tarball.tar");
      expectDone(await run(crane ?? "", ["pull", "--insecure", "--platform", "linux/amd64", of(), path]));
      const [first] = whole;
      if (first === undefined) throw new Error("there is no image");
      const { config, diffIds } = first;
      const content = [{ config, diffIds }];
      await pushed({ path, flags: ["--tag", `${app.repository}:${app.tag}`], images: expected(content) });
    },
    120_000,
  );
});
