/** The parts of the benchmark that could report wrong figures without anybody noticing. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quote } from "./contenders.ts";
import { type Figures, measure, parseTimes } from "./measure.ts";
import { profiles } from "./profile.ts";
import { formatReport, median } from "./report.ts";

let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "oci-mirror-bench-test-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Measures a script in a fresh folder. */
async function measured(script: string) {
  const place = await mkdtemp(join(folder, "place-"));
  return measure({ script, folder: place, env: process.env, timesFile: `${place}.times` });
}

describe("a measured script", () => {
  test("is charged for the processor time and the memory of its grandchildren", async () => {
    const busy = `
      const memory = Buffer.alloc(150_000_000, 1);
      const start = process.cpuUsage();
      for (;;) { const { user, system } = process.cpuUsage(start); if (user + system > 500_000) break; }
      if (memory.at(-1) !== 1) process.exit(1);`;
    const { code, figures } = await measured(`echo x | xargs ${quote(process.execPath)} -e ${quote(busy)}`);
    expect(code).toBe(0);
    expect(figures.cpuSeconds).toBeGreaterThan(0.5);
    expect(figures.wallSeconds).toBeGreaterThan(0.25); // the loop has one thread; the rest of the process may help
    expect(figures.peakMemory).toBeGreaterThan(150_000_000);
    expect(figures.peakMemory).toBeLessThan(600_000_000);
  });

  test("is charged for the disk that it has allocated, not for holes", async () => {
    const { figures } = await measured("mkdir a; head -c 5000000 /dev/urandom >a/b; truncate -s 1G a/hole");
    expect(figures.peakDisk).toBeGreaterThanOrEqual(5_000_000);
    expect(figures.peakDisk).toBeLessThan(10_000_000);
  });

  test("ends at its first failing command, whose code and output are kept", async () => {
    const { code, output } = await measured("echo before; sh -c 'echo why >&2; exit 7'; echo after");
    expect({ code, output }).toEqual({ code: 7, output: "before\nwhy\n" });
  });
});

test("both lines of `times` are added up", () => {
  expect(parseTimes("0m0.002s 0m0.003s\n1m2.500s 0m0.495s\n")).toBeCloseTo(63, 6);
});

test("the median of even and odd numbers of values", () => {
  expect(median([3, 1, 10])).toBe(3);
  expect(median([10, 2])).toBe(6);
  expect(median([])).toBeNaN();
});

test("ratios are to the best peer, not to mirror", () => {
  const figures = (wallSeconds: number): Figures => ({
    wallSeconds,
    cpuSeconds: 1,
    peakMemory: 1e6,
    peakDisk: 0,
  });
  const series = { profile: "large", task: "pull", failures: 0 } as const;
  const report = formatReport([
    { ...series, name: "mirror", isPeer: false, runs: [figures(2)] },
    { ...series, name: "slow", isPeer: true, runs: [figures(8)] },
    { ...series, name: "fast", isPeer: true, runs: [figures(3), figures(5), figures(4)] },
    { ...series, name: "broken", isPeer: true, runs: [], failures: 2 },
  ]);
  expect(report).toContain("2.00 s 0.50x");
  expect(report).toContain("8.00 s 2.00x");
  expect(report).toContain("4.00 s 1.00x");
  expect(report).toMatch(/\| broken \| - .*\| 0, 2 failed \|/);
});

describe("profiles", () => {
  /** Distinct layers of a profile, and their bytes. */
  function layersOf(name: string) {
    const images = profiles[name]?.().images ?? [];
    const all = images.flatMap(({ platforms }) => platforms.flatMap(({ layers }) => layers));
    const sizes = new Map(all.map((layer) => [layer.name, layer.size]));
    const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    return { images: images.length, layers: sizes.size, bytes };
  }

  test("have the shapes that they promise", () => {
    expect(layersOf("large")).toEqual({ images: 8, layers: 29, bytes: 2_000_000_000 });
    // 800 configs, one a platform, make it 2,600 blobs
    expect(layersOf("many")).toMatchObject({ images: 400, layers: 1_800 });
    expect(layersOf("huge")).toEqual({ images: 1, layers: 1, bytes: 4 * 2 ** 30 });
  });
});

test("measuring leaves only what the script made", async () => {
  const place = await mkdtemp(join(folder, "left-"));
  await measure({ script: "touch made", folder: place, env: process.env, timesFile: `${place}.times` });
  expect(await readdir(place)).toEqual(["made"]);
});
