/** `npm run torture:archives [-- RUNS]`: hostile archives by the thousand (10,000 if left out). Fails on a crash, a hang, or too much memory. */
import { setFlagsFromString } from "node:v8";
import fc from "fast-check";
import { honest, hostile, survive } from "../support/hostile-archives.ts";
import { tempDir } from "../support/temp.ts";

// As bin/run.js does, before anything grows it.
setFlagsFromString("--semi-space-growth-factor=1");

/** Resident memory at most, in MiB. */
const maxMib = 250;

const runs = Number(process.argv[2] ?? 10_000);
await using folder = await tempDir();
const bases = await honest();
const started = performance.now();
let done = 0;
await fc.assert(
  fc.asyncProperty(hostile, async (given) => {
    await survive(bases, given, folder);
    done += 1;
    if (done % 1000 === 0) console.log(`${done} of ${runs}`);
  }),
  { numRuns: runs },
);
const peak = Math.round(process.resourceUsage().maxRSS / 1024);
const seconds = Math.round((performance.now() - started) / 1000);
console.log(
  `${runs} hostile archives in ${seconds} s: no crash, no hang, no file; ${peak} MiB of memory at the peak`,
);
if (peak > maxMib) {
  console.error(`more than ${maxMib} MiB`);
  process.exitCode = 1;
}
