/** vitest's global setup: tests start bin/run.js, which loads dist/. So dist/ has to be that of the present src/. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeCommandManifest } from "./command-manifest.ts";
import { compile, isStale } from "./compile.ts";

/** Builds dist/ if it is stale. Gives what puts away what the run needed. */
export async function setup(): Promise<() => Promise<void>> {
  await build();
  // The tests start the program thousands of times; a third of the processor time of a start is compilation.
  const cache = await mkdtemp(join(tmpdir(), "oci-mirror-compiled-"));
  // Not by Node's own name: the runner's processes would write into it until after it is gone.
  process.env["OCI_MIRROR_COMPILED"] = cache;
  return async () => await rm(cache, { recursive: true, force: true });
}

async function build(): Promise<void> {
  if (!(await isStale())) return;
  const result = await compile();
  switch (result.kind) {
    case "built":
      await writeCommandManifest();
      return;
    case "failed":
      // tsc writes its output in spite of type errors. Tests of other parts are worth running; `npm run check` and
      // `npm run build` are what refuses them.
      console.error(`dist/ was built with type errors:\n${result.output.trimEnd()}`);
      return;
    case "no-compiler":
      throw new Error("Cannot build dist/ for the tests: typescript is not installed");
  }
}
