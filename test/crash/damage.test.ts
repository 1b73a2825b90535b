/** A journal or a part that is damaged, torn or somebody else's: never a wrong bundle, at worst a fresh start. */
import { createHash } from "node:crypto";
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { journalPath, partPath, spillPath } from "../../src/bundle/part-place.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { pull, type WantedImage, wanted } from "../support/pipeline.ts";
import type { TempDir } from "../support/temp.ts";
import { startWorkplace } from "../support/workplace.ts";
import { randomOf } from "./support/random.ts";
import { hook } from "./support/victim.ts";

/** Many runs, on a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

/** What an unfinished pull has left. */
interface Leftovers {
  readonly part: Buffer;
  readonly journal: Buffer;
  /** A piece of a move that was not over. */
  readonly spill?: Buffer;
}

/** What is pulled on top of leftovers, and the hash of what has to come out. */
interface Goal {
  readonly images: readonly WantedImage[];
  readonly undisturbed: string;
}

let folder: TempDir;
let registry: TestRegistry;
let app: Goal;
/** Half of app. */
let left: Leftovers;
/** Another image in front of app. */
let both: Goal;
/** Half of app, on its way to its place behind the other one. */
let moving: Leftovers;

allTests(startWorkplace, async (made) => {
  ({ folder, registry } = made);
  const layers = [900_000, 300_000, 20_000, 5000];
  seed(registry, "team/app", "1.0", await makeImage({ seed: "damage", layers }));
  seed(registry, "team/other", "1.0", await makeImage({ seed: "damage, other", layers: [120_000, 30_000] }));
  const [first, second] = [wanted(registry, "team/app:1.0"), wanted(registry, "team/other:1.0")];
  app = await goalOf("app", [first]);
  both = await goalOf("both", [second, first]);
  left = await leftoversOf("half", [first], 1_000_000);
  await leftoversOf("moving", [first], 1_000_000);
  moving = await killedWhileMoving("moving", ["team/other:1.0", "team/app:1.0"]);
});

/** Pulls one blob at a time until so many bytes have come, and gives what is left then. */
async function leftoversOf(name: string, of: readonly WantedImage[], bytes: number): Promise<Leftovers> {
  const path = folder.join(`${name}.tar`);
  const controller = new AbortController();
  let finished = 0;
  const run = pull(of, path, {
    concurrency: 1,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === "blob-finished") finished += event.size;
      const now = event.type === "blob-progress" ? event.offset : 0;
      if (finished + now >= bytes) controller.abort(new Error("Ctrl-C"));
    },
  });
  await expect(run).rejects.toThrow("Ctrl-C");
  return await readLeftovers(path);
}

/** Lets the program go on with such leftovers, and kills it while they move. */
async function killedWhileMoving(name: string, images: readonly string[]): Promise<Leftovers> {
  const args = [...images.map((image) => `${registry.host}/${image}`), "--to", `${name}.tar`];
  const env = { NODE_OPTIONS: `--import=${hook}`, CRASH_AT: "move:piece-written#1" };
  const { signal, stderr } = await runMirror(["pull", ...args], { cwd: folder.path, env });
  expect(signal, stderr).toBe("SIGKILL");
  return await readLeftovers(folder.join(`${name}.tar`));
}

async function readLeftovers(path: string): Promise<Leftovers> {
  const spill = await readFile(spillPath(path)).catch(() => undefined);
  return {
    part: await readFile(partPath(path)),
    journal: await readFile(journalPath(path)),
    ...(spill === undefined ? {} : { spill }),
  };
}

async function goalOf(name: string, images: readonly WantedImage[]): Promise<Goal> {
  const path = folder.join(`${name}-undisturbed.tar`);
  await pull(images, path);
  return { images, undisturbed: hashOf(await readFile(path)) };
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Goes on with such leftovers, and expects the right bundle. Says whether anything of them was used. */
async function expectRight(
  { images, undisturbed }: Goal,
  { part, journal, spill }: Partial<Leftovers>,
  message: string,
): Promise<boolean> {
  const path = folder.join("again.tar");
  const files = [
    [partPath(path), part],
    [journalPath(path), journal],
    [spillPath(path), spill],
  ] as const;
  for (const [name, bytes] of files) if (bytes !== undefined) await writeFile(name, bytes);
  const { committed, events } = await pull(images, path);
  expect([committed, hashOf(await readFile(path))], message).toEqual([true, undisturbed]);
  await rm(path);
  for (const [name] of files) await expect(access(name), message).rejects.toThrow("ENOENT");
  return events.some(
    (event) => event.type === "blob-skipped" || (event.type === "blob-finished" && event.reused),
  );
}

/** A copy with one bit turned. */
function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  return copy;
}

/** The leftovers, and where they lead to. */
const states = [
  ["of half a pull", () => left, () => app],
  ["of half a move", () => moving, () => both],
] as const;

/** So large a step that there are about `count` of them, and an odd one: every bit of a byte has its turn. */
function oddStep(length: number, count: number): number {
  return Math.floor(length / count) | 1;
}

test.each(states)("leftovers %s get used as they are", async (_, from, to) => {
  expect(await expectRight(to(), from(), "as it is")).toBe(true);
});

test.each(states)("a journal %s with a flipped bit, wherever it is", async (_, from, to) => {
  const { journal } = from();
  for (let bit = 0; bit < journal.length * 8; bit += oddStep(journal.length * 8, 70))
    await expectRight(to(), { ...from(), journal: flipped(journal, bit) }, `bit ${bit}`);
});

test.each(states)("a journal %s that ends anywhere", async (_, from, to) => {
  const { journal } = from();
  for (let length = 0; length < journal.length; length += oddStep(journal.length, 30)) {
    const short = journal.subarray(0, length);
    await expectRight(to(), { ...from(), journal: short }, `${length} bytes`);
    // Something else stood there before.
    const torn = Buffer.concat([short, Buffer.alloc(journal.length - length)]);
    await expectRight(to(), { ...from(), journal: torn }, `${length} bytes, then zeros`);
  }
});

test.each(states)(
  "a journal %s whose lines are missing, doubled or in another order",
  async (_, from, to) => {
    const lines = from()
      .journal.toString("latin1")
      .split(/(?<=\n)/);
    const withLines = async (changed: readonly string[], message: string): Promise<void> =>
      void (await expectRight(
        to(),
        { ...from(), journal: Buffer.from(changed.join(""), "latin1") },
        message,
      ));
    await withLines([...lines].reverse(), "reversed");
    for (const [index, line] of lines.entries()) {
      await withLines(lines.toSpliced(index, 1), `without line ${index}`);
      await withLines([...lines, line], `line ${index} once more at the end`);
    }
  },
);

test.each(states)("a part %s that is damaged in places, or is not that long", async (_, from, to) => {
  const [random, { part }] = [randomOf(1), from()];
  for (let round = 0; round < 15; round += 1) {
    const at = Math.floor(random() * part.length);
    const length = Math.floor(random() ** 4 * 100_000) + 1;
    const damaged = Buffer.from(part);
    randomBytesOf(`round ${round}`, length).copy(damaged, at);
    await expectRight(to(), { ...from(), part: damaged }, `round ${round}: ${length} bytes at ${at}`);
    await expectRight(to(), { ...from(), part: part.subarray(0, at) }, `round ${round}: ${at} bytes`);
  }
  const longer = Buffer.concat([part, randomBytesOf("longer", 100_000)]);
  await expectRight(to(), { ...from(), part: longer }, "a longer part");
});

test("a saved piece of a move that is damaged, or gone", async () => {
  const { spill = Buffer.alloc(0), ...rest } = moving;
  expect(spill.length).toBeGreaterThan(0);
  await expectRight(both, rest, "gone");
  await expectRight(both, { ...rest, spill: flipped(spill, 1000) }, "damaged");
  await expectRight(both, { ...rest, spill: spill.subarray(0, spill.length / 2) }, "short");
});

test("a journal or a part of another bundle", async () => {
  const other = await leftoversOf("other", [wanted(registry, "team/other:1.0")], 130_000);
  await expectRight(app, other, "both of another one");
  await expectRight(app, { ...left, journal: other.journal }, "the journal of another one");
  await expectRight(app, { ...left, part: other.part }, "the part of another one");
  await expectRight(app, { part: randomBytesOf("foreign", 50_000) }, "a part of nobody's");
  await expectRight(app, { journal: left.journal }, "a journal without a part");
  await expectRight(app, { ...left, spill: randomBytesOf("spill", 5000) }, "a saved piece of nobody's");
});

test.each([
  ["is gone", () => undefined],
  ["is of no version that is known", () => Buffer.from('{"version":1,"layout":"sha256:00"}\n')],
  ["is something else", () => randomBytesOf("a journal", 5000)],
  ["is empty", () => Buffer.alloc(0)],
])("the program says in one line that it starts afresh if the journal %s", async (name, journal) => {
  const cwd = folder.join(name.replaceAll(" ", "-"));
  await mkdir(cwd);
  await writeFile(`${cwd}/bundle.tar.part`, left.part);
  const bytes = journal();
  if (bytes !== undefined) await writeFile(`${cwd}/bundle.tar.part.journal`, bytes);
  const pullIt = ["pull", `${registry.host}/team/app:1.0`, "--to", "bundle.tar"];
  const { code, stderr } = await runMirror(pullIt, { cwd });
  expect(code, stderr).toBe(0);
  expect(stderr.match(/^.*starts afresh.*$/gm), stderr).toHaveLength(1);
  expect((await runMirror(["verify", "bundle.tar"], { cwd })).code).toBe(0);
});
