/** A private containerd: its own folders and socket, for one test. Nothing of it runs containers. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { endWithThisProcess, type Outcome, run, stop } from "./process.ts";
import { onPath } from "./tools.ts";

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

const startTimeoutMs = 20_000;

/**
 * The programs, or undefined (after one loud line on stderr) where they are not on PATH or this user may not run
 * them. With CI set in the environment a missing program is an error: there, a skipped test would look like a
 * passed one.
 */
export async function containerdTools(): Promise<ContainerdTools | undefined> {
  const [containerd, ctr] = [await onPath("containerd"), await onPath("ctr")];
  const isRoot = process.getuid?.() === 0;
  if (containerd !== undefined && ctr !== undefined && isRoot) return { containerd, ctr };
  const absent = containerd === undefined || ctr === undefined;
  const message = `CONTAINERD TESTS CANNOT RUN: ${absent ? "containerd and ctr are not on PATH" : "containerd wants root"}`;
  if (absent && (process.env["CI"] ?? "") !== "") throw new Error(message);
  console.error(message);
  return undefined;
}

/** Starts containerd and waits until it serves. Throws with its log when it does not start. */
export async function startContainerd(tools: ContainerdTools): Promise<Containerd> {
  // Not in a deeper folder: the path of a socket has at most 107 bytes.
  const folder = await mkdtemp(join(tmpdir(), "ctrd-"));
  const [config, socket] = [join(folder, "config.toml"), join(folder, "c.sock")];
  await writeFile(config, configuration(folder, socket));
  const child = spawn(tools.containerd, ["--config", config], { stdio: ["ignore", "ignore", "pipe"] });
  endWithThisProcess(child);
  const close = async (): Promise<void> => {
    await stop(child);
    await rm(folder, { recursive: true, force: true });
  };
  const log: string[] = [];
  try {
    await new Promise<void>((settle, fail) => {
      const give = (reason: string): void => {
        clearTimeout(timer);
        fail(new Error(`containerd does not start: ${reason}\n${log.slice(-20).join("\n")}`));
      };
      const timer = setTimeout(() => give(`not ready after ${startTimeoutMs / 1000} s`), startTimeoutMs);
      child.once("error", (error) => give(error.message));
      child.once("exit", (code) => give(`exit code ${code}`));
      createInterface({ input: child.stderr }).on("line", (line) => {
        log.push(line);
        if (!line.includes("containerd successfully booted")) return;
        clearTimeout(timer);
        settle();
      });
    });
  } catch (error) {
    await close();
    throw error;
  }
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
