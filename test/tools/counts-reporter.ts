/** A vitest reporter whose one line is the last of a run: `123 passed, 0 failed`. Scripts and people look for it. */
import type { Reporter, TestModule } from "vitest/node";

/** Tests of a run by outcome. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The line: `3 passed, 0 failed`, and `, 1 skipped` where there are any. */
export function formatCounts({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`;
}

/**
 * Counts the tests of all modules. A module or a hook that failed by itself, and an error outside of any test, is one
 * failure more: a run that went wrong never shows `0 failed`.
 */
export function countTests(modules: readonly TestModule[], unhandledErrors: number): Counts {
  let passed = 0;
  let failed = unhandledErrors;
  let skipped = 0;
  for (const module of modules) {
    failed += module.errors().length;
    for (const suite of module.children.allSuites()) failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") passed += 1;
      else if (state === "skipped") skipped += 1;
      else failed += 1;
    }
  }
  return { passed, failed, skipped };
}

/** Prints the counts when everything else has been printed. */
export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const line = formatCounts(countTests(modules, unhandledErrors.length));
    // vitest's own summary goes through a buffered logger: only at exit is the last line really the last.
    process.once("exit", () => process.stdout.write(`${line}\n`));
  }
}
