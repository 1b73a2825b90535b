/**
 * Runs a script and measures it. CPU time comes from bash's `times`, which counts every child that was waited for;
 * peak memory and peak disk are sampled, memory from the kernel's own high-water mark of each process.
 */
import { spawn } from "node:child_process";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { quote } from "./contenders.ts";

/** What one run took. */
export interface Figures {
  readonly wallSeconds: number;
  /** User and system time of all processes, in seconds. */
  readonly cpuSeconds: number;
  /** Resident bytes of all processes that ran at one time, the shared pages counted in each. */
  readonly peakMemory: number;
  /** Bytes allocated below the run's folder: output, temporary files, home. */
  readonly peakDisk: number;
}

/** How a run ended. */
export interface Measured {
  readonly code: number;
  /** The end of stdout and stderr. */
  readonly output: string;
  readonly figures: Figures;
}

const memoryIntervalMs = 20;
const diskIntervalMs = 250;

/** A /proc file; empty when the process has ended. */
function proc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, "utf8");
  } catch {
    return "";
  }
}

function threads(pid: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** A process and all its descendants. A child is listed with the thread that started it. */
function processTree(pid: string): readonly string[] {
  const children = threads(pid).flatMap((thread) => proc(`${pid}/task/${thread}/children`).split(" "));
  return [pid, ...children.filter((child) => child !== "").flatMap(processTree)];
}

/** The sum of the high-water marks of all processes below `pid` that live now, in bytes. */
function residentBytes(pid: number): number {
  const [, ...tree] = processTree(String(pid)); // the first is the bash that keeps the time
  return tree.reduce((sum, each) => {
    const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(proc(`${each}/status`))?.[1];
    return sum + Number(kilobytes ?? 0) * 1024;
  }, 0);
}

/** Allocated bytes below a folder. Files that vanish meanwhile count nothing. */
function allocatedBytes(folder: string): number {
  let sum = 0;
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) sum += allocatedBytes(path);
      else sum += lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0;
    }
  } catch {
    // the folder went while it was read
  }
  return sum;
}

/** Reads what `times` wrote: two lines, the shell's own and its children's, each with user and system time. */
export function parseTimes(text: string): number {
  return [...text.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds),
    0,
  );
}

/** Runs a bash script (with `set -e`) in `folder`, which is the place whose disk use is watched. */
export async function measure(options: {
  readonly script: string;
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  /** A file outside of `folder` for the times. */
  readonly timesFile: string;
}): Promise<Measured> {
  const { script, folder, env, timesFile } = options;
  // The script runs in a bash of its own: what it exits with leaves this one to tell the times.
  const wrapped = `bash -ec ${quote(script)}; code=$?; times >${quote(timesFile)}; exit $code`;
  const started = performance.now();
  const child = spawn("bash", ["-c", wrapped], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-4_000);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);

  let [peakMemory, peakBlocks] = [0, 0];
  const memoryTimer = setInterval(() => {
    if (child.pid !== undefined) peakMemory = Math.max(peakMemory, residentBytes(child.pid));
  }, memoryIntervalMs);
  const diskTimer = setInterval(() => {
    peakBlocks = Math.max(peakBlocks, allocatedBytes(folder));
  }, diskIntervalMs);
  const code = await new Promise<number>((settle, fail) => {
    child.once("error", fail);
    child.once("close", (status) => settle(status ?? 1));
  });
  const wallSeconds = (performance.now() - started) / 1000;
  clearInterval(memoryTimer);
  clearInterval(diskTimer);
  peakBlocks = Math.max(peakBlocks, allocatedBytes(folder));
  const cpuSeconds = parseTimes(await readFile(timesFile, "utf8").catch(() => ""));
  return { code, output, figures: { wallSeconds, cpuSeconds, peakMemory, peakDisk: peakBlocks * 512 } };
}
