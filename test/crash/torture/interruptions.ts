/** How long the end takes after Ctrl-C and SIGTERM, in every phase. */
import { rm } from "node:fs/promises";
import { type CorpusImage, upload } from "../../interop/support/corpus.ts";
import { makeMoved } from "../support/content.ts";
import { interrupt, type Phase } from "../support/interruption.ts";
import { copyLeftovers, type Place } from "../support/place.ts";
import { startTarget } from "../support/target.ts";
import { type Attempt, runUntil } from "../support/victim.ts";
import { lastWords, type Row, type TortureOptions } from "./outcome.ts";

const bound = 2000;
const times = 4;

interface Case {
  readonly what: string;
  readonly prepare: (number: number) => Promise<Attempt>;
  readonly phase: () => Phase;
  /** Again and again until it is over; once if left out. */
  readonly insists?: boolean;
}

/** Interrupts a run in each phase, some times each. The tag of an image has moved afterwards. */
export async function tortureInterruptions(
  place: Place,
  { bundle, images }: { bundle: string; images: readonly CorpusImage[] },
  { program, size, say }: TortureOptions,
): Promise<readonly Row[]> {
  const { line } = place.relay;
  const half = await place.work("interrupted-half", images);
  await runUntil(place.pull(half), { bytes: line.total + size * 0.7 });
  const fresh = async (name: string): Promise<Attempt> => place.pull(await place.work(name, images));
  const resumed = async (name: string): Promise<Attempt> => {
    const attempt = await fresh(name);
    await copyLeftovers(half, attempt.cwd);
    return attempt;
  };
  await using target = await startTarget(program);
  const uploading = {
    prepare: async (number: number): Promise<Attempt> => ({
      args: ["push", bundle, "--registry", target.relay.host],
      cwd: await place.work(`uploading-${number}`, images),
      relay: target.relay,
    }),
    phase: (): Phase => ({ moment: { bytes: target.relay.line.total + size / 50 } }),
  };
  const cases: readonly Case[] = [
    {
      what: "resolving",
      prepare: (number) => fresh(`resolving-${number}`),
      phase: () => ({ moment: { bytes: line.total + 1 } }),
    },
    {
      what: "fetching",
      prepare: (number) => fresh(`fetching-${number}`),
      phase: () => ({ moment: { bytes: line.total + size / 3 } }),
    },
    {
      what: "proving",
      prepare: (number) => resumed(`proving-${number}`),
      phase: () => ({ point: "blob:begun#1" }),
    },
    { what: "uploading", ...uploading },
    { what: "uploading, again and again", ...uploading, insists: true },
    {
      what: "relocating",
      prepare: async (number) => {
        if (number === 1) await upload(place.registry.url, [await makeMoved(size)]);
        return await resumed(`relocating-${number}`);
      },
      phase: () => ({ point: "move:noted#2" }),
    },
  ];
  const rows: Row[] = [];
  for (const each of cases) rows.push(await measureCase(each, say));
  await rm(half, { recursive: true });
  return rows;
}

async function measureCase(
  { what, prepare, phase, insists = false }: Case,
  say: TortureOptions["say"],
): Promise<Row> {
  const all: number[] = [];
  const problems: string[] = [];
  for (let number = 1; number <= times; number += 1) {
    const attempt = await prepare(number);
    const once = number % 2 === 0 ? "SIGTERM" : "SIGINT";
    const { result, ms } = await interrupt(attempt, phase(), insists ? "SIGINTs" : once);
    all.push(ms);
    // Shells make 130 of the signal.
    if (result.code !== 130 && !(insists && result.signal === "SIGINT"))
      problems.push(`exit code ${result.code}: ${lastWords(result)}`);
    if (!insists && !result.stderr.includes("hint: run it again to go on: mirror "))
      problems.push("no command to go on");
    if (!(ms <= bound)) problems.push(`${Math.round(ms)} ms`);
    await rm(attempt.cwd, { recursive: true });
  }
  say(`interrupted ${what}: ${problems.join("; ") || "held"}`);
  const figures = { times: String(times), "slowest end": `${Math.max(...all).toFixed(0)} ms` };
  return { what: `interrupted ${what}`, figures, problems };
}
