/** A private dockerd with its classic image store: its own folders and socket, no network, for one test. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDaemon } from "./daemon.ts";
import { type Outcome, type RunOptions, run } from "./process.ts";
import { rootTools } from "./root-tools.ts";

/** Absolute paths of what it takes. dockerd finds its own containerd and runc on PATH. */
export interface DockerTools {
  readonly dockerd: string;
  readonly docker: string;
}

/** A running dockerd. */
export interface Dockerd extends AsyncDisposable {
  /** Runs `docker` against it, to its end. Nothing of the user's Docker configuration takes part. */
  readonly docker: (args: readonly string[], options?: RunOptions) => Promise<Outcome>;
  /** `unix:///...`, for DOCKER_HOST. */
  readonly host: string;
}

/** The programs, or undefined where they cannot be used: see {@link rootTools}. */
export async function dockerTools(): Promise<DockerTools | undefined> {
  return await rootTools("dockerd", "docker", "containerd", "runc");
}

/**
 * Starts dockerd and waits until it serves. It touches neither iptables nor bridges, so containers run with
 * `--network none`; registries at 127.0.0.1 may speak plain HTTP. Throws with its log when it does not start.
 */
export async function startDockerd(tools: DockerTools): Promise<Dockerd> {
  // Not in a deeper folder: the path of a socket has at most 107 bytes, and containerd's lies below.
  const folder = await mkdtemp(join(tmpdir(), "dkrd-"));
  const host = `unix://${join(folder, "d.sock")}`;
  const config = join(folder, "daemon.json");
  await writeFile(config, "{}");
  const places = { "data-root": "root", "exec-root": "exec", pidfile: "pid" };
  const close = await startDaemon({
    program: tools.dockerd,
    args: [
      `--config-file=${config}`,
      `--host=${host}`,
      ...Object.entries(places).map(([flag, name]) => `--${flag}=${join(folder, name)}`),
      // Works on every file system, in containers too.
      "--storage-driver=vfs",
      "--bridge=none",
      "--iptables=false",
      "--ip6tables=false",
    ],
    ready: "API listen on",
    cleanUp: () => rm(folder, { recursive: true, force: true }),
  });
  const env = { DOCKER_HOST: host, DOCKER_CONFIG: join(folder, "client"), DOCKER_CONTEXT: "" };
  const docker = (args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
    run(tools.docker, args, { ...options, env: { ...env, ...options.env } });
  return { docker, host, [Symbol.asyncDispose]: close };
}
