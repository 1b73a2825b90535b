/** One task of one profile: the contenders take turns, each with a fresh target. */
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type DockerRegistry, startDockerRegistry } from "../interop/support/docker-registry.ts";
import { run } from "../interop/support/process.ts";
import type { Contender, RunContext, Task } from "./contenders.ts";
import type { Corpus } from "./corpus.ts";
import { type Measured, measure } from "./measure.ts";
import type { Series } from "./report.ts";

/** What stays the same over a race. */
export interface RaceOptions {
  readonly profile: string;
  readonly corpus: Corpus;
  readonly contenders: readonly Contender[];
  readonly runs: number;
  /** A folder for everything that the race makes. */
  readonly scratch: string;
  /** The docker-registry. */
  readonly program: string;
  /** PATH of the tools. */
  readonly path: string;
  /** Takes a line of progress. */
  readonly log: (line: string) => void;
}

/** The environment of a tool: its own home and temporary folder, nobody's credentials, no proxy. */
function toolEnvironment(work: string, path: string): NodeJS.ProcessEnv {
  const home = join(work, "home");
  return { PATH: path, HOME: home, TMPDIR: join(work, "tmp"), DOCKER_CONFIG: home, XDG_RUNTIME_DIR: home };
}

/** Why a result is not what it should be, or undefined. */
async function findFault(
  task: Task,
  contender: Contender,
  context: RunContext,
  { code, output }: Measured,
  corpus: Corpus,
): Promise<string | undefined> {
  if (code !== 0) return `exit code ${code}: ${output.trim().slice(-300)}`;
  if (task === "pull") {
    const size = await stat(context.bundle).then(
      (found) => found.size,
      () => 0,
    );
    return size > corpus.bytes ? undefined : `the file has ${size} bytes, the blobs have ${corpus.bytes}`;
  }
  const answer = await fetch(`http://${context.targetHost}/v2/${corpus.repository}/tags/list`);
  const { tags = [] } = (await answer.json()) as { readonly tags?: readonly string[] };
  const expected = task === "push" ? (contender.pushedTags ?? corpus.tags.length) : corpus.tags.length;
  return tags.length === expected ? undefined : `the target has ${tags.length} tags of ${expected}`;
}

/** One run with a fresh target. A `keepAs` path gets the bundle of a pull. */
async function runOnce(
  options: RaceOptions,
  source: DockerRegistry,
  task: Task,
  contender: Contender,
  bundles: { readonly from?: string; readonly keepAs?: string },
): Promise<{ readonly measured: Measured; readonly fault: string | undefined }> {
  const { corpus, scratch, program, path } = options;
  const place = await mkdtemp(join(scratch, "run-"));
  const work = join(place, "work");
  try {
    for (const name of ["home", "tmp"]) await mkdir(join(work, name), { recursive: true });
    await using target = await startDockerRegistry({
      program,
      forMeasuring: true,
      dir: join(place, "target"),
    });
    const context: RunContext = {
      source: `${source.host}/${corpus.repository}`,
      targetHost: target.host,
      target: `${target.host}/${corpus.repository}`,
      tagsFile: join(place, "tags.txt"),
      listFile: join(place, "list.txt"),
      work,
      bundle: bundles.from ?? join(work, "bundle.tar"),
    };
    await writeFile(context.tagsFile, corpus.tags.map((tag) => `${tag}\n`).join(""));
    await writeFile(context.listFile, corpus.tags.map((tag) => `${context.source}:${tag}\n`).join(""));
    await run("sync", []); // what the run before has left to write is not this one's burden
    const measured = await measure({
      script: contender[task](context),
      folder: work,
      env: toolEnvironment(work, path),
      timesFile: join(place, "times"),
    });
    const fault = await findFault(task, contender, context, measured, corpus);
    if (fault === undefined && bundles.keepAs !== undefined) await rename(context.bundle, bundles.keepAs);
    return { measured, fault };
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

/** Runs all turns of a task. A push reads the bundle that the same tool has pulled, outside of the measurement. */
export async function race(options: RaceOptions, task: Task): Promise<readonly Series[]> {
  const { profile, corpus, contenders, runs, scratch, program, log } = options;
  await using source = await startDockerRegistry({ program, forMeasuring: true, dir: corpus.dir });
  const bundles = new Map<string, string>();
  if (task === "push") {
    for (const contender of contenders) {
      const keepAs = join(scratch, `${contender.name}.tar`);
      const { fault } = await runOnce(options, source, "pull", contender, { keepAs });
      if (fault === undefined) bundles.set(contender.name, keepAs);
      else log(`${profile} ${task} ${contender.name}: no bundle to push: ${fault}`);
    }
  }
  const results = new Map(contenders.map(({ name }) => [name, { good: [] as Measured[], failures: 0 }]));
  for (let turn = 1; turn <= runs; turn += 1) {
    for (const contender of contenders) {
      const from = bundles.get(contender.name);
      const result = results.get(contender.name);
      if (result === undefined || (task === "push" && from === undefined)) continue;
      const { measured, fault } = await runOnce(
        options,
        source,
        task,
        contender,
        from === undefined ? {} : { from },
      );
      if (fault === undefined) result.good.push(measured);
      else result.failures += 1;
      const told = fault ?? `${measured.figures.wallSeconds.toFixed(2)} s`;
      log(`${profile} ${task} ${turn}/${runs} ${contender.name}: ${told}`);
    }
  }
  for (const bundle of bundles.values()) await rm(bundle, { force: true });
  return contenders.map(({ name }) => ({
    profile,
    task,
    name,
    isPeer: name !== "mirror",
    runs: results.get(name)?.good.map(({ figures }) => figures) ?? [],
    failures: results.get(name)?.failures ?? 0,
  }));
}
