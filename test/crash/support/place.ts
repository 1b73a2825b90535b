/** Where the crash tests happen: a docker-registry with content, a counting relay in front of it, and a folder. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { expect } from "vitest";
import { type CorpusImage, listOf, upload } from "../../interop/support/corpus.ts";
import { type DockerRegistry, startDockerRegistry } from "../../interop/support/docker-registry.ts";
import { type TempDir, tempDir } from "../../support/temp.ts";
import { type CountingRelay, startCountingRelay } from "./counting-relay.ts";
import { type Attempt, runToEnd } from "./victim.ts";

/** A place; disposing of it ends the registry and removes the folder. */
export interface Place extends AsyncDisposable {
  readonly folder: TempDir;
  readonly registry: DockerRegistry;
  readonly relay: CountingRelay;
  /** Makes a folder below, with the list of the images in it. */
  work(name: string, images: readonly CorpusImage[]): Promise<string>;
  /** `mirror pull --to bundle.tar` in such a folder. */
  pull(cwd: string, ...flags: readonly string[]): Attempt;
}

/** Starts all of it. `rate`: bytes a second on the line; as fast as it goes if left out. */
export async function startPlace(options: {
  readonly program: string;
  readonly images: readonly CorpusImage[];
  readonly rate?: number;
}): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await tempDir());
  const registry = stack.use(await startDockerRegistry({ program: options.program }));
  await upload(registry.url, options.images);
  const { rate } = options;
  const relay = stack.use(
    await startCountingRelay({ port: portOf(registry), ...(rate === undefined ? {} : { rate }) }),
  );
  const owned = stack.move();
  return {
    folder,
    registry,
    relay,
    work: async (name, images) => {
      const path = folder.join(name);
      await mkdir(path);
      await writeFile(`${path}/manifests.yaml`, listOf(relay.host, images));
      return path;
    },
    pull: (cwd, ...flags) => ({ args: ["pull", "--to", "bundle.tar", ...flags], cwd, relay }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The port of a registry of this machine. */
export function portOf({ host }: { readonly host: string }): number {
  return Number(host.split(":").at(-1));
}

/** Runs a command to its end, and expects this exit code. */
export async function expectEnd(attempt: Attempt, message: string, code = 0): Promise<string> {
  const result = await runToEnd(attempt);
  expect(result.code, `${message}: ${result.stderr}`).toBe(code);
  return result.stderr;
}

/** Expects that two files hold the same bytes. */
export async function expectSameBytes(path: string, other: string, message: string): Promise<void> {
  const [one, two] = await Promise.all([readFile(path), readFile(other)]);
  expect(one.equals(two), `${message}: the same bytes`).toBe(true);
}

/** The files that an unfinished pull leaves behind. */
export const leftovers = ["part", "part.journal", "part.spill", "part.lock"].map(
  (end) => `bundle.tar.${end}`,
);

/** Puts what an unfinished pull left in one folder into another. */
export async function copyLeftovers(from: string, to: string): Promise<void> {
  for (const name of leftovers)
    await copyFile(`${from}/${name}`, `${to}/${name}`).catch((error: unknown) => {
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    });
}
