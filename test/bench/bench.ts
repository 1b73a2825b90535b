/**
 * `npm run bench`: measures mirror beside the peers that are on the PATH, against a real docker-registry on this
 * machine. Figures of one machine and one day: compare within a table only.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../interop/support/process.ts";
import { interopTools, onPath } from "../interop/support/tools.ts";
import { projectRoot } from "../tools/project.ts";
import { type Contender, mirror, peersFor, type Task, tasks } from "./contenders.ts";
import { prepareCorpus } from "./corpus.ts";
import { profiles } from "./profile.ts";
import { race } from "./race.ts";
import { formatReport, type Series } from "./report.ts";

const help = `npm run bench -- [options]

  --profile NAMES   ${Object.keys(profiles).join(", ")} or all, with commas (default large)
  --only TASKS      ${tasks.join(", ")}, with commas (default all)
  --runs N          runs of each tool at each task (default 5)
  --peers NAMES     crane, skopeo, oras, with commas (default: those that are found)
  --peers-only      leave mirror out
  --plain-peers     call the peers with their own defaults, one process at a time (default: tuned for speed)
  --path DIR        look for peers and docker-registry here before PATH
  --corpus DIR      where content is kept between calls (default ${tmpdir()})
  --work DIR        where targets and bundles go; needs some four times the profile's size (default ${tmpdir()})
  --json FILE       write every single figure too`;

const { values } = parseArgs({
  options: {
    profile: { type: "string", default: "large" },
    only: { type: "string", default: tasks.join(",") },
    runs: { type: "string", default: "5" },
    peers: { type: "string" },
    "peers-only": { type: "boolean", default: false },
    "plain-peers": { type: "boolean", default: false },
    path: { type: "string" },
    corpus: { type: "string", default: tmpdir() },
    work: { type: "string", default: tmpdir() },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const peers = peersFor(values["plain-peers"] ? "plain" : "tuned");

/** Splits at commas; every part has to be one of `known`. */
function choose<T extends string>(option: string, value: string, known: readonly T[]): readonly T[] {
  return value.split(",").map((part) => {
    const found = known.find((each) => each === part);
    if (found === undefined)
      throw new Error(`Cannot use --${option} ${part}: it is none of ${known.join(", ")}`);
    return found;
  });
}

/** The peers that are there; one that was named must be. */
async function findPeers(named: string | undefined): Promise<readonly Contender[]> {
  const names = peers.map(({ name }) => name);
  const wanted = named === undefined ? names : choose("peers", named, names);
  const found: Contender[] = [];
  for (const peer of peers.filter(({ name }) => wanted.includes(name))) {
    const path = await onPath(peer.program);
    if (path !== undefined) found.push(peer);
    else if (named !== undefined) throw new Error(`Cannot measure ${peer.name}: it is not on PATH`);
  }
  return found;
}

async function findRegistry(): Promise<string> {
  const program = (await onPath("docker-registry")) ?? (await interopTools())?.dockerRegistry;
  if (program === undefined) throw new Error("Cannot measure: there is no docker-registry");
  return program;
}

/** The version of each tool, as far as it tells one in a line with digits and dots. */
async function versions(contenders: readonly Contender[], registry: string): Promise<string> {
  const told: string[] = [];
  for (const { name, program } of [...contenders, { name: "docker-registry", program: registry }]) {
    const outputs = [await run(program, ["--version"]), await run(program, ["version"])];
    const version = outputs.map(({ stdout }) => /v?\d+\.\d+\.\d+\S*/.exec(stdout)?.[0]).find((each) => each);
    told.push(`${name === "mirror" ? "node" : name} ${version ?? "of unknown version"}`);
  }
  return told.join(", ");
}

async function main(): Promise<void> {
  if (values.path !== undefined) {
    process.env["PATH"] = `${resolve(values.path)}${delimiter}${process.env["PATH"] ?? ""}`;
  }
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1)
    throw new Error(`Cannot use --runs ${values.runs}: not a number of runs`);
  const known = Object.keys(profiles);
  const chosen = values.profile === "all" ? known : choose("profile", values.profile, known);
  const chosenTasks: readonly Task[] = choose("only", values.only, tasks);
  const contenders = [
    ...(values["peers-only"] ? [] : [mirror(projectRoot)]),
    ...(await findPeers(values.peers)),
  ];
  const program = await findRegistry();
  const log = (line: string): void => {
    process.stderr.write(`${line}\n`);
  };
  log(`${await versions(contenders, program)}; ${availableParallelism()} cores`);

  const [corpusFolder, workFolder] = [resolve(values.corpus), resolve(values.work)];
  await mkdir(corpusFolder, { recursive: true });
  await mkdir(workFolder, { recursive: true });
  const scratch = await mkdtemp(join(workFolder, "oci-mirror-bench-run-"));
  const results: Series[] = [];
  try {
    for (const name of chosen) {
      const profile = profiles[name]?.();
      if (profile === undefined) continue;
      const corpus = await prepareCorpus(profile, corpusFolder, program);
      log(`${name}: ${profile.about}: ${corpus.blobs} blobs, ${(corpus.bytes / 1e9).toFixed(2)} GB`);
      const path = process.env["PATH"] ?? "";
      const options = { profile: name, corpus, contenders, runs, scratch, program, path, log };
      for (const task of chosenTasks) results.push(...(await race(options, task)));
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  console.log(formatReport(results));
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(results, undefined, 2)}\n`);
  if (results.some(({ failures, runs: good }) => failures > 0 || good.length === 0)) process.exitCode = 1;
}

if (values.help) console.log(help);
else await main();
