/** The real files of src/, as the floor checker takes them. */
import { readFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import type { SourceText } from "./floors.ts";
import { filesUnder, projectRoot } from "./project.ts";

/** Reads every TypeScript file of src/. */
export async function readSources(): Promise<readonly SourceText[]> {
  const paths = (await filesUnder(join(projectRoot, "src"))).filter((path) => path.endsWith(".ts"));
  return Promise.all(
    paths.map(async (path) => ({
      path: relative(projectRoot, path).split(sep).join("/"),
      text: await readFile(path, "utf8"),
    })),
  );
}
