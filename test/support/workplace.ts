/** What most tests of commands need: a folder, and a registry in memory. */
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { type TempDir, tempDir } from "./temp.ts";

/** Disposing of it closes the registry and removes the folder. */
export interface Workplace extends AsyncDisposable {
  readonly folder: TempDir;
  readonly registry: TestRegistry;
}

/** Makes an empty one. */
export async function startWorkplace(): Promise<Workplace> {
  const folder = await tempDir();
  const registry = await startRegistry();
  return {
    folder,
    registry,
    [Symbol.asyncDispose]: async () => {
      await registry[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
