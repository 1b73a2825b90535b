import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["./test/tools/global-setup.ts"],
    reporters: ["default", "./test/tools/counts-reporter.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The tests wait for processes and sockets more than they compute: vitest's "cores - 1" leaves a small machine idle.
    maxWorkers: Math.max(2, availableParallelism()),
  },
});
