/**
 * `npm run check`: everything that judges the source without running it. Each step is printed with its time, the
 * output of a failing one in full. Exit code 1 if any step failed.
 */
import { checkFloors } from "./floors.ts";
import { packageFile, projectRoot, runCommand } from "./project.ts";
import { readSources } from "./source-files.ts";

interface StepResult {
  readonly passed: boolean;
  readonly output: string;
}

interface Step {
  readonly name: string;
  readonly run: () => Promise<StepResult>;
}

/** A step that is a tool out of node_modules; passes if the tool exits with 0. */
function tool(
  name: string,
  launcher: readonly [packageName: string, path: string],
  args: readonly string[],
): Step {
  return {
    name,
    run: async () => {
      const path = packageFile(...launcher);
      if (path === undefined) return { passed: false, output: `${launcher[0]} is not installed: run npm ci` };
      const { code, output } = await runCommand(process.execPath, [path, ...args]);
      return { passed: code === 0, output };
    },
  };
}

const biome = ["@biomejs/biome", "bin/biome"] as const;

const steps: readonly Step[] = [
  tool("format (biome)", biome, ["format", "."]),
  tool("lint (biome)", biome, ["lint", "--error-on-warnings", "."]),
  tool("lint, type-aware (oxlint)", ["oxlint", "bin/oxlint"], ["--type-aware", "--deny-warnings", "."]),
  tool("types (tsc)", ["typescript", "bin/tsc"], ["--noEmit", "-p", "test"]),
  {
    name: "floors",
    run: async () => {
      const problems = checkFloors(await readSources());
      return { passed: problems.length === 0, output: problems.join("\n") };
    },
  },
  tool("unused code (knip)", ["knip", "bin/knip.js"], ["--no-progress"]),
];

/** Runs one step, prints its line and says whether it passed. */
async function runStep({ name, run }: Step): Promise<boolean> {
  const started = performance.now();
  const { passed, output } = await run();
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  console.log(`${passed ? "ok    " : "FAILED"} ${name.padEnd(28)} ${seconds.padStart(6)} s`);
  if (!passed) console.log(`${output.trimEnd()}\n`);
  return passed;
}

process.chdir(projectRoot);
let failed = 0;
for (const step of steps) {
  if (!(await runStep(step))) failed += 1;
}
console.log(failed === 0 ? "all checks passed" : `${failed} of ${steps.length} checks failed`);
process.exitCode = failed === 0 ? 0 : 1;
