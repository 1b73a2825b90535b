/** vitest's global setup: tests start bin/run.js, which loads dist/. So dist/ has to be that of the present src/. */
import { writeCommandManifest } from "./command-manifest.ts";
import { compile, isStale } from "./compile.ts";

/** Builds dist/ if it is stale. */
export async function setup(): Promise<void> {
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
