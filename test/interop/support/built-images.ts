/**
 * Three runnable images as real builders make and push them: one of two platforms (buildah), one with a zstd layer
 * (buildah), one of Docker's own media types (docker build). Each prints a line of its own.
 */
import { expect } from "vitest";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseManifest } from "../../../src/oci/manifest.ts";
import { tempDir } from "../../support/temp.ts";
import { busyboxTool, makeContext } from "./builder.ts";
import { type DockerTools, dockerTools, startDockerd } from "./dockerd.ts";
import { makePodman, type PodmanTools, podmanTools } from "./podman.ts";
import type { Outcome } from "./process.ts";
import { rawManifest } from "./skopeo.ts";

/** What it takes to build them. */
export interface BuilderTools {
  readonly docker: DockerTools;
  readonly podman: PodmanTools;
  readonly busybox: string;
}

/** One of them in its registry. */
export interface BuiltImage {
  /** `multi`, `zstd` or `built`. */
  readonly short: string;
  readonly name: string;
  /** What it prints when it is run, with the line break. */
  readonly line: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** Of what runs on each platform, the machine's own first; the image itself where there is no index. */
  readonly platforms: Readonly<Record<string, { readonly manifest: Digest; readonly config: Digest }>>;
}

/** Everything, or undefined where something is missing, which is then said. */
export async function builderTools(): Promise<BuilderTools | undefined> {
  const [docker, podman, busybox] = [await dockerTools(), await podmanTools(), await busyboxTool()];
  if (docker === undefined || podman === undefined || busybox === undefined) return undefined;
  return { docker, podman, ...busybox };
}

const lines = {
  multi: "hello from two platforms",
  zstd: "hello from zstd",
  built: "hello from docker build",
};

/** Builds the images and pushes them to a plain-HTTP registry on this machine. */
export async function publishBuiltImages(
  tools: BuilderTools,
  host: string,
  skopeo: string,
): Promise<readonly BuiltImage[]> {
  await using folder = await tempDir();
  await using builder = await makePodman(tools.podman);
  await using daemon = await startDockerd(tools.docker);
  const contextOf = async (short: keyof typeof lines): Promise<string> => {
    const path = folder.join(short);
    await makeContext(path, tools.busybox, lines[short]);
    return path;
  };
  const nameOf = (short: string): string => `${host}/team/${short}:1.0`;
  const buildah = async (...args: readonly string[]): Promise<void> => succeeded(await builder.buildah(args));
  const docker = async (...args: readonly string[]): Promise<void> => succeeded(await daemon.docker(args));
  // The other platform comes first in the index, so that no reader finds its own by luck.
  const platforms = ["--platform=linux/arm64,linux/amd64", "--jobs=1"];
  await buildah("build", ...platforms, "--manifest", "multi", await contextOf("multi"));
  await buildah("manifest", "push", "--all", "--tls-verify=false", "multi", `docker://${nameOf("multi")}`);
  await buildah("build", "--tag", nameOf("zstd"), await contextOf("zstd"));
  await buildah("push", "--tls-verify=false", "--compression-format=zstd", nameOf("zstd"));
  await docker("build", "--tag", nameOf("built"), await contextOf("built"));
  await docker("push", nameOf("built"));
  const view = { skopeo, host };
  return await Promise.all(
    Object.entries(lines).map(([short, line]) => describeImage(view, short, `${line}\n`)),
  );
}

async function describeImage(
  view: { readonly skopeo: string; readonly host: string },
  short: string,
  line: string,
): Promise<BuiltImage> {
  const raw = Buffer.from(await rawManifest(view, `team/${short}:1.0`));
  const { mediaType = "" } = JSON.parse(raw.toString()) as { mediaType?: string };
  const parsed = parseManifest(raw, mediaType, short);
  const common = { short, name: `${view.host}/team/${short}:1.0`, line, digest: digestOf(raw) };
  if (parsed.kind === "manifest")
    return {
      ...common,
      mediaType: parsed.mediaType,
      platforms: { "linux/amd64": { manifest: digestOf(raw), config: configOf(raw) } },
    };
  const children = parsed.manifests.map(async ({ digest, platform }) => {
    const child = Buffer.from(await rawManifest(view, `team/${short}@${digest}`));
    return [
      `${platform?.os}/${platform?.architecture}`,
      { manifest: digest, config: configOf(child) },
    ] as const;
  });
  return {
    ...common,
    mediaType: parsed.mediaType,
    platforms: Object.fromEntries(await Promise.all(children)),
  };
}

function configOf(raw: Buffer): Digest {
  const parsed = parseManifest(raw, "application/vnd.oci.image.manifest.v1+json", "a child");
  if (parsed.kind !== "manifest" || parsed.config === undefined) throw new Error("an image has a config");
  return parsed.config.digest;
}

function succeeded(outcome: Outcome): void {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}
