/**
 * `npm run build`: src/ to dist/. npm runs it too, as `prepare`, at the end of `npm ci`.
 * Without the development dependencies there is no compiler: an existing dist/ is then taken as it is.
 */
import { writeCommandManifest } from "./command-manifest.ts";
import { compile } from "./compile.ts";

const started = performance.now();
const result = await compile();
switch (result.kind) {
  case "built":
    await writeCommandManifest();
    console.log(`built dist/ in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    break;
  case "failed":
    console.error(result.output.trimEnd());
    process.exitCode = 1;
    break;
  case "no-compiler":
    if (result.distExists) {
      console.log("build skipped: dist/ is there and typescript is not installed");
    } else {
      console.error("Cannot build dist/: typescript is not installed. Run npm ci with its dev dependencies.");
      process.exitCode = 1;
    }
    break;
}
