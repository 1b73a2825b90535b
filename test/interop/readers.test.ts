/**
 * One pulled bundle of three images, and every reader of the README's table that Debian carries: names and digests
 * compared where the reader keeps them, and what it cannot keep as it is. The registry is gone by then.
 */
import { mkdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { runMirror } from "../support/cli.ts";
import { makeArtifact } from "../support/images.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type BuiltImage, builderTools, publishBuiltImages } from "./support/built-images.ts";
import { containerdTools, startContainerd } from "./support/containerd.ts";
import { upload } from "./support/corpus.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { startDockerd } from "./support/dockerd.ts";
import { makePodman } from "./support/podman.ts";
import { type Outcome, run } from "./support/process.ts";
import { rootTools } from "./support/root-tools.ts";
import { rawManifest } from "./support/skopeo.ts";
import { interopTools } from "./support/tools.ts";

const tools = await interopTools();
const builders = await builderTools();
const containerd = await containerdTools();
const umoci = (await rootTools("umoci"))?.umoci;
const { dockerRegistry: program = "", skopeo = "" } = tools ?? {};

/** A chart, and a signature as cosign makes them, with the config of an image. */
const artifacts = [
  { repository: "charts/shop", tag: "1.0", config: "application/vnd.cncf.helm.config.v1+json" },
  { repository: "team/built", tag: "sha256-0.sig", config: "application/vnd.oci.image.config.v1+json" },
].map(({ repository, tag, config: configType }) => {
  const files = [{ mediaType: "application/vnd.example.file", bytes: Buffer.from(repository) }];
  return { repository, tag, content: makeArtifact({ configType, config: "{}", files }) };
});

const succeeded = (outcome: Outcome): string => {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return outcome.stdout;
};
const linesOf = (text: string): readonly string[] => text.trim().split("\n").sort();

describe.skipIf(tools === undefined || builders === undefined)("a bundle of three images", () => {
  let folder: TempDir;
  let images: readonly BuiltImage[];
  /** The names of what is no image. */
  let others: readonly string[];
  let bundle: string;

  beforeAll(async () => {
    if (builders === undefined) throw new Error("skipped above");
    folder = await tempDir();
    await using source = await startDockerRegistry({ program });
    images = await publishBuiltImages(builders, source.host, skopeo);
    await upload(source.url, artifacts);
    bundle = folder.join("bundle.tar");
    await pull(bundle, images);
    await pull(folder.join("arm64.tar"), images, "--docker-platform", "linux/arm64");
    await pull(folder.join("amd64.tar"), [image("multi")], "--platform", "linux/amd64");
    for (const each of images) await pull(alone(each), [each]);
    others = artifacts.map(({ repository, tag }) => `${source.host}/${repository}:${tag}`);
    await pull(folder.join("mixed.tar"), [...others.map((name) => ({ name })), ...images]);
  }, 120_000);

  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
  });

  async function pull(
    to: string,
    from: readonly { readonly name: string }[],
    ...flags: readonly string[]
  ): Promise<void> {
    const pulled = await runMirror(["pull", ...from.map(({ name }) => name), "--to", to, ...flags]);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  }
  const alone = ({ short }: BuiltImage): string => folder.join(`${short}.tar`);
  function image(short: string): BuiltImage {
    const found = images.find((each) => each.short === short);
    if (found === undefined) throw new Error(`there is no image ${short}`);
    return found;
  }
  const configOf = ({ platforms }: BuiltImage, platform = "linux/amd64"): string =>
    platforms[platform]?.config ?? "no config";
  /** A bundle as a folder. */
  async function unpacked(path: string): Promise<string> {
    const to = `${path}.folder`;
    await mkdir(to, { recursive: true });
    succeeded(await run("tar", ["xf", path, "-C", to]));
    return to;
  }

  describe("docker load", () => {
    const started = async (): ReturnType<typeof startDockerd> => {
      if (builders === undefined) throw new Error("skipped above");
      return await startDockerd(builders.docker);
    };

    test("keeps names and configs of one platform each, zstd from Docker 23 on; docker run prints the lines", async () => {
      await using daemon = await started();
      const { docker } = daemon;
      const version = succeeded(await docker(["version", "--format", "{{.Server.Version}}"]));
      const takesZstd = Number.parseInt(version, 10) >= 23;
      const loaded = await docker(["load", "--input", bundle]);
      const expected = images.filter(({ short }) => takesZstd || short !== "zstd");
      expect(linesOf(loaded.stdout)).toEqual(expected.map(({ name }) => `Loaded image: ${name}`).sort());
      if (takesZstd) expect(loaded).toMatchObject({ code: 0, stderr: "" });
      else expect(loaded).toMatchObject({ code: 1, stderr: expect.stringContaining("invalid tar header") });
      const format = "{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}";
      const listed = succeeded(await docker(["images", "--no-trunc", "--digests", "--format", format]));
      // The classic store has no manifest, and so no digest of one.
      expect(linesOf(listed)).toEqual(expected.map((each) => `${each.name} ${configOf(each)} <none>`).sort());
      for (const { name, line } of expected)
        expect(await docker(["run", "--rm", "--network=none", name])).toMatchObject({
          code: 0,
          stdout: line,
        });
      if (takesZstd) return;
      // The way for an older Docker: skopeo unpacks zstd on the way into it.
      const { name, line } = image("zstd");
      const flags = ["--insecure-policy", "copy", "--dest-daemon-host", daemon.host];
      succeeded(await run(skopeo, [...flags, `docker-archive:${bundle}:${name}`, `docker-daemon:${name}`]));
      expect(await docker(["run", "--rm", "--network=none", name])).toMatchObject({ code: 0, stdout: line });
      expect(succeeded(await docker(["inspect", "--format", "{{.Id}}", name])).trim()).toBe(
        configOf(image("zstd")),
      );
    });

    test("does not see what is no image", async () => {
      await using daemon = await started();
      // It ends with 1 where it does not take zstd, and never with what a chart would make of it.
      const { stdout, stderr } = await daemon.docker(["load", "--input", folder.join("mixed.tar")]);
      expect(stderr.replace(/^.*invalid tar header\n$/, "")).toBe("");
      expect(stdout).toContain(`Loaded image: ${image("built").name}\n`);
      for (const name of others) expect(stdout).not.toContain(name);
    });

    test("takes the platform of --docker-platform, from standard input too", async () => {
      await using daemon = await started();
      const { docker } = daemon;
      const loaded = await docker(["load"], { input: await readFile(folder.join("arm64.tar")) });
      const { name } = image("multi");
      expect(succeeded(loaded).trim()).toBe(`Loaded image: ${name}`);
      const format = "{{.Id}} {{.Os}}/{{.Architecture}}";
      expect(succeeded(await docker(["inspect", "--format", format, name])).trim()).toBe(
        `${configOf(image("multi"), "linux/arm64")} linux/arm64`,
      );
    });
  });

  describe.skipIf(containerd === undefined)("ctr images import", () => {
    const started = async (): ReturnType<typeof startContainerd> => {
      if (containerd === undefined) throw new Error("skipped above");
      return await startContainerd(containerd);
    };

    test.each([
      { mode: "for its own platform", flags: [], runs: ["linux/amd64"] },
      { mode: "for another platform", flags: ["--platform=linux/arm64"], runs: ["linux/arm64"] },
      { mode: "for all platforms", flags: ["--all-platforms"], runs: ["linux/amd64", "linux/arm64"] },
    ])("$mode keeps every name and digest; ctr run prints the lines", async ({ flags, runs }) => {
      await using daemon = await started();
      const { ctr } = daemon;
      succeeded(await ctr(["images", "import", ...flags, bundle]));
      const rows = linesOf(succeeded(await ctr(["images", "ls"]))).filter((row) => !row.startsWith("REF "));
      expect(rows.map((row) => row.split(/\s+/).slice(0, 3).join(" "))).toEqual(
        images.map(({ name, mediaType, digest }) => `${name} ${mediaType} ${digest}`).sort(),
      );
      const held = new Set(linesOf(succeeded(await ctr(["content", "ls", "--quiet"]))));
      for (const platform of runs) {
        for (const each of images) {
          // The images of one platform are taken in every mode.
          const own = each.platforms[platform] ?? each.platforms["linux/amd64"];
          expect([...held]).toEqual(expect.arrayContaining([each.digest, own?.manifest, own?.config]));
          const id = `${each.short}-${platform.replace("/", "-")}`;
          const choice = each.short === "multi" ? [`--platform=${platform}`] : [];
          const printed = await ctr(["run", "--rm", ...choice, each.name, id]);
          expect(printed, printed.stderr).toMatchObject({ code: 0, stdout: each.line });
        }
      }
    });

    test("has all images in and unpacked when it stops at a chart; --no-unpack does not stop", async () => {
      await using daemon = await started();
      const { ctr } = daemon;
      const version = succeeded(await ctr(["version"]));
      const imported = await ctr(["images", "import", folder.join("mixed.tar")]);
      if (!/Server:\s+Version:\s+1\./.test(version)) succeeded(imported);
      else
        expect(imported).toMatchObject({
          code: 1,
          stderr: expect.stringContaining("mismatched image rootfs and manifest layers"),
        });
      const names = [...others, ...images.map(({ name }) => name)].sort();
      expect(linesOf(succeeded(await ctr(["images", "ls", "--quiet"])))).toEqual(names);
      for (const { short, name, line } of images)
        expect(await ctr(["run", "--rm", name, short])).toMatchObject({ code: 0, stdout: line });
      const apart = ["--namespace=apart", "images"];
      succeeded(await ctr([...apart, "import", "--no-unpack", folder.join("mixed.tar")]));
      expect(linesOf(succeeded(await ctr([...apart, "ls", "--quiet"])))).toEqual(names);
    });
  });

  describe("podman", () => {
    const made = async (): ReturnType<typeof makePodman> => {
      if (builders === undefined) throw new Error("skipped above");
      return await makePodman(builders.podman);
    };
    const inspected = "{{.Id}} {{.Digest}} {{.Os}}/{{.Architecture}}";

    test("load keeps every name, and configs, of what Docker is offered; podman run prints the lines", async () => {
      await using storage = await made();
      const loaded = succeeded(await storage.podman(["load", "--input", bundle]));
      expect(linesOf(loaded)).toEqual(images.map(({ name }) => `Loaded image: ${name}`).sort());
      for (const each of images) {
        const shown = succeeded(await storage.podman(["inspect", "--format", inspected, each.name]));
        const [id, digest, platform] = shown.trim().split(" ");
        expect([`sha256:${id}`, platform]).toEqual([configOf(each), "linux/amd64"]);
        // Podman reads manifest.json of a bundle of several, and makes manifests of its own.
        expect(digest).not.toBe(each.digest);
        const printed = await storage.podman(["run", "--rm", "--network=none", each.name]);
        expect(printed).toMatchObject({ code: 0, stdout: each.line });
      }
    });

    test("load of a bundle of one image keeps its digest, whatever it is", async () => {
      for (const each of images) {
        await using storage = await made();
        succeeded(await storage.podman(["load", "--input", alone(each)]));
        const shown = succeeded(await storage.podman(["inspect", "--format", inspected, each.name]));
        expect(shown.trim()).toBe(`${configOf(each).slice(7)} ${each.digest} linux/amd64`);
      }
    });

    test("pull of an oci-archive by name keeps the digest, and takes the platform that is asked for", async () => {
      await using storage = await made();
      for (const each of [image("zstd"), image("multi")]) {
        succeeded(await storage.podman(["pull", `oci-archive:${bundle}:${each.name}`]));
        const shown = succeeded(await storage.podman(["inspect", "--format", inspected, each.name]));
        expect(shown.trim()).toBe(`${configOf(each).slice(7)} ${each.digest} linux/amd64`);
      }
      const multi = image("multi");
      const flags = ["--quiet", "--platform=linux/arm64"];
      succeeded(await storage.podman(["pull", ...flags, `oci-archive:${bundle}:${multi.name}`]));
      const shown = succeeded(await storage.podman(["inspect", "--format", inspected, multi.name]));
      expect(shown.trim()).toBe(`${configOf(multi, "linux/arm64").slice(7)} ${multi.digest} linux/arm64`);
    });
  });

  test("skopeo copies each oci-archive with its digests, and each docker-archive with its config", async () => {
    await using target = await startDockerRegistry({ program });
    const copy = async (...args: readonly string[]): Promise<string> =>
      succeeded(await run(skopeo, ["--insecure-policy", "copy", "--dest-tls-verify=false", ...args]));
    for (const each of images) {
      const [oci, docker] = [`oci/${each.short}`, `docker/${each.short}`];
      await copy(
        "--all",
        "--preserve-digests",
        `oci-archive:${alone(each)}`,
        `docker://${target.host}/${oci}:1.0`,
      );
      const raw = await rawManifest({ skopeo, host: target.host }, `${oci}:1.0`);
      expect(digestOf(Buffer.from(raw))).toBe(each.digest);
      await copy(`docker-archive:${bundle}:${each.name}`, `docker://${target.host}/${docker}:1.0`);
      const arrived = await rawManifest({ skopeo, host: target.host }, `${docker}:1.0`);
      expect((JSON.parse(arrived) as { config: unknown }).config).toMatchObject({ digest: configOf(each) });
    }
  });

  test.skipIf(umoci === undefined)(
    "umoci lists an unpacked one by name, and unpacks one of one platform",
    async () => {
      if (umoci === undefined || builders === undefined) throw new Error("skipped above");
      const layout = await unpacked(bundle);
      expect(linesOf(succeeded(await run(umoci, ["ls", "--layout", layout])))).toEqual(
        images.map(({ name }) => name).sort(),
      );
      const single = await unpacked(folder.join("amd64.tar"));
      expect(succeeded(await run(umoci, ["ls", "--layout", single])).trim()).toBe("1.0");
      const stat = succeeded(await run(umoci, ["stat", "--json", "--image", `${single}:1.0`]));
      const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" };
      expect(JSON.parse(stat)).toMatchObject({ history: [{}, {}, { layer }] });
      const to = folder.join("umoci");
      succeeded(await run(umoci, ["unpack", "--image", `${single}:1.0`, to]));
      const [program1, program2] = [`${to}/rootfs/bin/busybox`, builders.busybox];
      expect((await readFile(program1)).equals(await readFile(program2))).toBe(true);
      // With several platforms it cannot choose.
      const several = await unpacked(alone(image("multi")));
      const refused = await run(umoci, ["unpack", "--image", `${several}:1.0`, folder.join("none")]);
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("ambiguous") });
    },
  );
});
