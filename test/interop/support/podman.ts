/** Podman and Buildah with folders and a configuration of their own, for one test. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Outcome, type RunOptions, run } from "./process.ts";
import { rootTools } from "./root-tools.ts";

/** Absolute paths of the two programs. Podman finds conmon and runc on its own. */
export interface PodmanTools {
  readonly podman: string;
  readonly buildah: string;
}

/** A storage that both work on. */
export interface Podman extends AsyncDisposable {
  readonly podman: (args: readonly string[], options?: RunOptions) => Promise<Outcome>;
  readonly buildah: (args: readonly string[], options?: RunOptions) => Promise<Outcome>;
}

/** The programs, or undefined where they cannot be used: see {@link rootTools}. */
export async function podmanTools(): Promise<PodmanTools | undefined> {
  return await rootTools("podman", "buildah", "runc");
}

/**
 * Makes an empty storage. Podman has no daemon, so nothing runs until it is called. Containers run with `--network
 * none`, builds in a chroot. Registries need `--tls-verify=false`.
 */
export async function makePodman(tools: PodmanTools): Promise<Podman> {
  const folder = await mkdtemp(join(tmpdir(), "podman-"));
  const env = {
    CONTAINERS_CONF: join(folder, "containers.conf"),
    CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
    CONTAINERS_REGISTRIES_CONF: join(folder, "registries.conf"),
    REGISTRY_AUTH_FILE: join(folder, "auth.json"),
    BUILDAH_ISOLATION: "chroot",
  };
  await mkdir(join(folder, "tmp"));
  await writeFile(env.CONTAINERS_CONF, configuration(folder));
  await writeFile(env.CONTAINERS_STORAGE_CONF, storage(folder));
  await writeFile(env.CONTAINERS_REGISTRIES_CONF, "");
  await writeFile(env.REGISTRY_AUTH_FILE, "{}");
  const running =
    (program: string) =>
    (args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
      run(program, args, { ...options, env: { ...env, ...options.env } });
  return {
    podman: running(tools.podman),
    buildah: running(tools.buildah),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Every path and lock that would otherwise be shared with the machine's own Podman. */
function configuration(folder: string): string {
  return [
    "[containers]",
    // The default is to raise them, which needs more than root has in a container.
    'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
    "[engine]",
    // crun refuses machines with cgroups of both versions.
    'runtime = "runc"',
    'cgroup_manager = "cgroupfs"',
    'events_logger = "file"',
    'lock_type = "file"',
    `tmp_dir = ${JSON.stringify(join(folder, "tmp"))}`,
    `volume_path = ${JSON.stringify(join(folder, "volumes"))}`,
    "[network]",
    `network_config_dir = ${JSON.stringify(join(folder, "networks"))}`,
    "",
  ].join("\n");
}

function storage(folder: string): string {
  return [
    "[storage]",
    'driver = "vfs"',
    `graphroot = ${JSON.stringify(join(folder, "root"))}`,
    `runroot = ${JSON.stringify(join(folder, "run"))}`,
    "",
  ].join("\n");
}
