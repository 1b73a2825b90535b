/** A private containerd: its own folders and socket, for one test. It runs containers by runc. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDaemon } from "./daemon.ts";
import { type Outcome, run } from "./process.ts";
import { rootTools } from "./root-tools.ts";

/** Absolute paths of the two programs. */
export interface ContainerdTools {
  readonly containerd: string;
  readonly ctr: string;
}

/** A running containerd. */
export interface Containerd extends AsyncDisposable {
  /** Runs `ctr` against it, to its end. */
  readonly ctr: (args: readonly string[]) => Promise<Outcome>;
}

/** The programs, or undefined where they cannot be used: see {@link rootTools}. */
export async function containerdTools(): Promise<ContainerdTools | undefined> {
  return await rootTools("containerd", "ctr");
}

/** Starts containerd and waits until it serves. Throws with its log when it does not start. */
export async function startContainerd(tools: ContainerdTools): Promise<Containerd> {
  // Not in a deeper folder: the path of a socket has at most 107 bytes.
  const folder = await mkdtemp(join(tmpdir(), "ctrd-"));
  const [config, socket] = [join(folder, "config.toml"), join(folder, "c.sock")];
  await writeFile(config, configuration(folder, socket));
  const close = await startDaemon({
    program: tools.containerd,
    args: ["--config", config],
    ready: "containerd successfully booted",
    cleanUp: () => rm(folder, { recursive: true, force: true }),
  });
  const ctr = (args: readonly string[]): Promise<Outcome> => run(tools.ctr, ["--address", socket, ...args]);
  return { ctr, [Symbol.asyncDispose]: close };
}

/** Every path that containerd would otherwise take from the machine; plugins that reach outside are off. */
function configuration(folder: string, socket: string): string {
  const quote = (text: string): string => JSON.stringify(text);
  const disabled = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
  ];
  return [
    "version = 2",
    `root = ${quote(join(folder, "root"))}`,
    `state = ${quote(join(folder, "state"))}`,
    `disabled_plugins = ${JSON.stringify(disabled)}`,
    "[grpc]",
    `address = ${quote(socket)}`,
    "[ttrpc]",
    `address = ${quote(`${socket}.ttrpc`)}`,
    '[plugins."io.containerd.internal.v1.opt"]',
    `path = ${quote(join(folder, "opt"))}`,
    "",
  ].join("\n");
}
