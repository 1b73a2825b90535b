/** Pulls that are killed: by chance while bytes flow, and at named points. */
import { rm } from "node:fs/promises";
import type { CorpusImage } from "../../interop/support/corpus.ts";
import { run } from "../../interop/support/process.ts";
import { bytesOf } from "../support/content.ts";
import type { Place } from "../support/place.ts";
import { randomOf } from "../support/random.ts";
import { allowedBytes, fetchedBytes } from "../support/thrift.ts";
import { type Attempt, type Kill, pointsOf, runToEnd, runUntil, runUntilPoint } from "../support/victim.ts";
import { inMegabytes, lastWords, type Row, type TortureOptions } from "./outcome.ts";

/** A pull that has been killed so and so often by now. */
interface Killed {
  readonly attempt: Attempt;
  readonly kills: readonly Kill[];
  readonly atPoints: number;
}

/** Every fifth kill comes at a named point. */
const pointShare = 0.2;

/** Kills pulls `kills` times in all, and compares what comes out. One row for each pull, and one for all. */
export async function torturePulls(
  place: Place,
  images: readonly CorpusImage[],
  options: TortureOptions,
): Promise<readonly Row[]> {
  const { say, kills, killsEach, seed } = options;
  const cwd = await place.work("pull-undisturbed", images);
  const { result, points } = await pointsOf(place.pull(cwd));
  if (result.code !== 0) throw new Error(`the undisturbed pull failed: ${lastWords(result)}`);
  const undisturbed = `${cwd}/bundle.tar`;
  const random = randomOf(seed);
  const rows: Row[] = [];
  for (let left = kills; left > 0; left -= killsEach) {
    const number = rows.length + 1;
    const folder = await place.work(`pull-${number}`, images);
    const began = performance.now();
    place.relay.forget();
    const killed = await killAgainAndAgain(place.pull(folder), {
      count: Math.min(left, killsEach),
      random,
      bundle: await bytesOf(undisturbed),
      points,
    });
    const last = await runToEnd(killed.attempt);
    const row = await judge(killed, {
      undisturbed,
      number,
      last,
      seconds: (performance.now() - began) / 1000,
    });
    say(`pull ${number}: ${row.problems.join("; ") || "held"}`);
    rows.push(row);
    await rm(folder, { recursive: true });
  }
  return rows;
}

async function killAgainAndAgain(
  attempt: Attempt,
  {
    count,
    random,
    bundle,
    points,
  }: {
    readonly count: number;
    readonly random: () => number;
    readonly bundle: number;
    readonly points: readonly string[];
  },
): Promise<Killed> {
  const { line } = attempt.relay;
  const kills: Kill[] = [];
  let atPoints = 0;
  const begun = line.total;
  // The moments are in order, so that the pull is not done before the last of them.
  const moments = Array.from({ length: count }, () => random() * bundle).sort((one, other) => one - other);
  for (const moment of moments) {
    const name = points[Math.floor(random() * points.length)];
    const atPoint = random() < pointShare && name !== undefined && !name.startsWith("commit:");
    const { kill, result } = atPoint
      ? await runUntilPoint(attempt, `${name}#${1 + Math.floor(random() * 5)}`)
      : await runUntil(attempt, { bytes: begun + moment });
    if (kill === undefined && result.code !== 0) throw new Error(`a run failed: ${lastWords(result)}`);
    if (kill === undefined) continue;
    kills.push(kill);
    if (atPoint) atPoints += 1;
  }
  return { attempt, kills, atPoints };
}

async function judge(
  { attempt, kills, atPoints }: Killed,
  {
    undisturbed,
    number,
    last,
    seconds,
  }: {
    readonly undisturbed: string;
    readonly number: number;
    readonly last: { readonly code: number | null; readonly stderr: string };
    readonly seconds: number;
  },
): Promise<Row> {
  const bundle = await bytesOf(undisturbed);
  const fetched = fetchedBytes(attempt.relay, kills);
  const allowed = allowedBytes(bundle, kills);
  const compared = await run("cmp", [undisturbed, `${attempt.cwd}/bundle.tar`]);
  const connections = kills.reduce((sum, each) => sum + each.connections, 0);
  const unread = kills.reduce((sum, each) => sum + each.unread, 0);
  const problems = [
    ...(last.code === 0 ? [] : [`the last run failed: ${lastWords(last)}`]),
    ...(compared.code === 0 ? [] : [`other bytes: ${compared.stdout}${compared.stderr}`]),
    ...(fetched <= allowed ? [] : [`${fetched} bytes fetched, ${Math.round(allowed)} allowed`]),
  ];
  return {
    what: `pull ${number}`,
    figures: {
      kills: `${kills.length} (${atPoints} at points)`,
      connections: String(connections),
      "fetched/bundle": (fetched / bundle).toFixed(4),
      "allowed/bundle": (allowed / bundle).toFixed(4),
      "lost a connection": inMegabytes(Math.max(0, fetched - bundle) / Math.max(1, connections)),
      "with unread": (attempt.relay.given / bundle).toFixed(4),
      "unread a kill": inMegabytes(unread / Math.max(1, kills.length)),
      seconds: seconds.toFixed(1),
    },
    problems,
  };
}
