/** One layer of 4 GiB behind a line that breaks every 200 MB: every byte once, in little memory. */
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { prepareCorpus } from "../../bench/corpus.ts";
import { profiles } from "../../bench/profile.ts";
import { startDockerRegistry } from "../../interop/support/docker-registry.ts";
import { bytesOf } from "../support/content.ts";
import { startCountingRelay } from "../support/counting-relay.ts";
import { portOf } from "../support/place.ts";
import { runToEnd, startAttempt } from "../support/victim.ts";
import { inMegabytes, lastWords, type Row, type TortureOptions } from "./outcome.ts";

const breakEvery = 200_000_000;
const memoryBound = 200 * 1024 * 1024;
const memoryIntervalMs = 100;

/** Pulls it. */
export async function tortureDrops({ program, work, say }: TortureOptions): Promise<Row> {
  const profile = profiles["huge"]?.();
  if (profile === undefined) throw new Error("there is no profile named huge");
  say("making 4 GiB");
  const corpus = await prepareCorpus(profile, work, program);
  await using registry = await startDockerRegistry({ program, dir: corpus.dir, forMeasuring: true });
  await using relay = await startCountingRelay({ port: portOf(registry) });
  relay.line.breakEvery = breakEvery;
  const cwd = `${work}/drops`;
  await mkdir(cwd);
  const images = corpus.tags.map((tag) => `  - ${relay.host}/${corpus.repository}:${tag}`);
  await writeFile(`${cwd}/manifests.yaml`, ["version: 1", "images:", ...images, ""].join("\n"));
  const began = performance.now();
  let peak = 0;
  await using running = await startAttempt({ args: ["pull", "--to", "bundle.tar"], cwd, relay });
  const timer = setInterval(() => {
    peak = Math.max(peak, peakMemory(running.pid));
  }, memoryIntervalMs);
  const { code, stderr } = await running.result;
  clearInterval(timer);
  const seconds = (performance.now() - began) / 1000;
  const { given } = relay;
  const bundle = code === 0 ? await bytesOf(`${cwd}/bundle.tar`) : Number.NaN;
  const verified = await runToEnd({ args: ["verify", "bundle.tar"], cwd, relay });
  const problems = [
    ...(code === 0 ? [] : [`the pull failed: ${lastWords({ stderr })}`]),
    ...(verified.code === 0 ? [] : [`verify failed: ${lastWords(verified)}`]),
    ...(given <= bundle * 1.01 ? [] : [`${given} bytes fetched for ${bundle}`]),
    ...(peak < memoryBound ? [] : [`a peak of ${peak} bytes of memory`]),
  ];
  say(`drops: ${problems.join("; ") || "held"}`);
  return {
    what: "4 GiB layer",
    figures: {
      breaks: String(relay.line.broken),
      "fetched/bundle": (given / bundle).toFixed(4),
      "peak memory": inMegabytes(peak),
      seconds: seconds.toFixed(1),
    },
    problems,
  };
}

/** The most memory that a process has had resident so far, in bytes; 0 when it has ended. */
function peakMemory(pid: number): number {
  try {
    const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}
