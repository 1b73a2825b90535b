/**
 * `npm run torture`: the promise that a run can be interrupted anywhere, measured at length. Kills the program at
 * random against a real docker-registry, and exits with 1 if a bound is broken.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { interopTools } from "../interop/support/tools.ts";
import { makeContent } from "./support/content.ts";
import { startPlace } from "./support/place.ts";
import { runToEnd } from "./support/victim.ts";
import { tortureCopies } from "./torture/copies.ts";
import { tortureDrops } from "./torture/drops.ts";
import { tortureInterruptions } from "./torture/interruptions.ts";
import { formatRows, type Row, type TortureOptions } from "./torture/outcome.ts";
import { torturePoints } from "./torture/points.ts";
import { torturePulls } from "./torture/pulls.ts";

const parts = ["pull", "points", "push", "sync", "interrupt", "drop"] as const;
type Part = (typeof parts)[number];
/** Those that bring their own content. */
const alone: ReadonlySet<Part> = new Set(["points", "drop"]);

const help = `npm run torture -- [options]

  --only PARTS      ${parts.join(", ")}, with commas (default all)
  --pull-kills N    SIGKILLs during pulls (default 100)
  --push-kills N    SIGKILLs during pushes (default 50)
  --sync-kills N    SIGKILLs during syncs (default 50)
  --kills-each N    kills of one pull, push or sync before it may end (default 10)
  --size MB         size of the list (default 1000)
  --rate MB         pace of the line from the source, a second (default: as fast as it goes)
  --seed N          the same seed kills at the same bytes (default: another one each time, printed)
  --work DIR        a folder on a disk; needs some five times the size, and 9 GB for the part drop
                    (default ${tmpdir()})`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: parts.join(",") },
    "pull-kills": { type: "string", default: "100" },
    "push-kills": { type: "string", default: "50" },
    "sync-kills": { type: "string", default: "50" },
    "kills-each": { type: "string", default: "10" },
    size: { type: "string", default: "1000" },
    rate: { type: "string" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    work: { type: "string", default: tmpdir() },
    help: { type: "boolean", default: false },
  },
});

function numberOf(option: Exclude<keyof typeof values, "help">): number {
  const number = Number(values[option]);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`Cannot use --${option} ${values[option]}: expected a whole number from 1`);
  return number;
}

function chosenParts(): ReadonlySet<Part> {
  return new Set(
    values.only.split(",").map((name) => {
      const part = parts.find((each) => each === name);
      if (part === undefined) throw new Error(`Cannot use --only ${name}: it is none of ${parts.join(", ")}`);
      return part;
    }),
  );
}

/** The parts that move the list. */
async function tortureList(chosen: ReadonlySet<Part>, options: TortureOptions): Promise<readonly Row[]> {
  options.say(`making a list of ${values.size} MB`);
  const images = await makeContent(options.size);
  const rate = values.rate === undefined ? {} : { rate: numberOf("rate") * 1_000_000 };
  await using place = await startPlace({ program: options.program, images, ...rate });
  const cwd = await place.work("pushed", images);
  const bundle = `${cwd}/bundle.tar`;
  const pulled = await runToEnd(place.pull(cwd));
  if (pulled.code !== 0) throw new Error(pulled.stderr);
  const rows: Row[] = [];
  const kills = (name: "pull-kills" | "push-kills" | "sync-kills"): TortureOptions => ({
    ...options,
    kills: numberOf(name),
  });
  if (chosen.has("pull")) rows.push(...(await torturePulls(place, images, kills("pull-kills"))));
  for (const verb of ["push", "sync"] as const)
    if (chosen.has(verb))
      rows.push(...(await tortureCopies(verb, { place, bundle, images }, kills(`${verb}-kills`))));
  // The last one: it moves a tag.
  if (chosen.has("interrupt")) rows.push(...(await tortureInterruptions(place, { bundle, images }, options)));
  return rows;
}

async function main(): Promise<void> {
  const chosen = chosenParts();
  const tools = await interopTools();
  if (tools === undefined) throw new Error("docker-registry is needed");
  const work = await mkdtemp(join(resolve(values.work), "oci-mirror-torture-"));
  // Everything that the tests make goes there.
  process.env["TMPDIR"] = work;
  const options: TortureOptions = {
    program: tools.dockerRegistry,
    work,
    seed: numberOf("seed"),
    kills: 0,
    killsEach: numberOf("kills-each"),
    size: numberOf("size") * 1_000_000,
    say: (line) => console.log(line),
  };
  try {
    console.log(`seed ${options.seed}, in ${work}`);
    const rows = [
      ...([...chosen].some((part) => !alone.has(part)) ? await tortureList(chosen, options) : []),
      ...(chosen.has("points") ? await torturePoints(options) : []),
      ...(chosen.has("drop") ? [await tortureDrops(options)] : []),
    ];
    const groups = Map.groupBy(rows, ({ what }) => what.split(" ")[0] ?? "");
    for (const group of groups.values()) console.log(`\n${formatRows(group)}`);
    const problems = rows.flatMap((row) => row.problems.map((problem) => `${row.what}: ${problem}`));
    console.log(problems.length === 0 ? "\nevery bound held" : `\n${problems.join("\n")}`);
    if (problems.length > 0) process.exitCode = 1;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

if (values.help) console.log(help);
else await main();
