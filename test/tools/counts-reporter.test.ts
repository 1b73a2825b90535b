import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatCounts } from "./counts-reporter.ts";
import { packageFile, projectRoot, runCommand } from "./project.ts";

let folder = "";

beforeAll(async () => {
  // Inside the project, because test files resolve `vitest` from where they are.
  folder = await mkdtemp(join(projectRoot, "node_modules", ".counts-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Runs vitest over one test file with the reporter; gives the exit code and the last line. */
async function runSuite(name: string, text: string): Promise<{ code: number; lastLine: string }> {
  const root = join(folder, name);
  await writeFile(
    `${root}.test.ts`,
    `import { beforeAll, describe, test, expect } from "vitest";\n${text}\n`,
  );
  const config = join(folder, "vitest.config.js");
  const reporter = join(projectRoot, "test", "tools", "counts-reporter.ts");
  await writeFile(
    config,
    `export default { test: { root: ${JSON.stringify(folder)}, exclude: [], include: ["${name}.test.ts"], reporters: ["default", ${JSON.stringify(reporter)}] } };\n`,
  );
  const launcher = packageFile("vitest", "vitest.mjs");
  if (launcher === undefined) throw new Error("vitest has no launcher");
  const { code, output } = await runCommand(process.execPath, [launcher, "run", "--config", config]);
  return { code, lastLine: output.trimEnd().split("\n").at(-1) ?? "" };
}

test("the last line of a good run holds its counts", async () => {
  const text = 'test("a", () => {}); test("b", () => {});';
  expect(await runSuite("good", text)).toEqual({ code: 0, lastLine: "2 passed, 0 failed" });
});

test("failed and skipped tests are counted apart", async () => {
  const text = 'test("a", () => {}); test("b", () => expect(1).toBe(2)); test["skip"]("c", () => {});';
  expect(await runSuite("mixed", text)).toEqual({ code: 1, lastLine: "1 passed, 1 failed, 1 skipped" });
});

test("a file that cannot be loaded is a failure", async () => {
  expect(await runSuite("broken", 'throw new Error("no");')).toEqual({
    code: 1,
    lastLine: "0 passed, 1 failed",
  });
});

test("an error outside of any test is a failure", async () => {
  const text = 'test("a", () => { queueMicrotask(() => { throw new Error("late"); }); });';
  expect(await runSuite("late", text)).toEqual({ code: 1, lastLine: "1 passed, 1 failed" });
});

test("skipped tests are named only where there are any", () => {
  expect(formatCounts({ passed: 3, failed: 0, skipped: 0 })).toBe("3 passed, 0 failed");
  expect(formatCounts({ passed: 3, failed: 0, skipped: 2 })).toBe("3 passed, 0 failed, 2 skipped");
});
