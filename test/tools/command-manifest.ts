/**
 * `oclif.manifest.json`: what oclif needs to know of every command. Without it, each start of the program loads
 * all commands with all that they import, which takes twice the time and a third more memory.
 */
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Config } from "@oclif/core";
import { projectRoot } from "./project.ts";

/** Writes the manifest of the commands in dist/, in place of any older one. */
export async function writeCommandManifest(): Promise<void> {
  const path = join(projectRoot, "oclif.manifest.json");
  // oclif would take an older manifest for the truth.
  await rm(path, { force: true });
  const config = await Config.load({ root: projectRoot });
  const plugin = config.plugins.get(config.pjson.name);
  if (plugin === undefined) throw new Error("oclif does not find the commands");
  const fresh = `${path}.${process.pid}`;
  // The class has it; the interface that oclif exports does not say so.
  const { manifest } = plugin as typeof plugin & { readonly manifest: unknown };
  await writeFile(fresh, JSON.stringify(manifest));
  await rename(fresh, path);
}
