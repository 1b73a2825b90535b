/** Skopeo as the second opinion on what a registry holds. */
import { expect } from "vitest";
import type { CorpusManifest } from "./corpus.ts";
import { type Outcome, run } from "./process.ts";

/** Runs skopeo, or any command, to its end: on this machine, or inside of a namespace. */
export type Runner = (command: string, args: readonly string[]) => Promise<Outcome>;

/** Where and how skopeo reads. */
export interface SkopeoView {
  readonly skopeo: string;
  readonly host: string;
  /** How to get in; `--tls-verify=false` if left out. */
  readonly access?: readonly string[];
  readonly runner?: Runner;
}

/** The bytes of a manifest at a registry, as text. `name`: `repository:tag` or `repository@digest`. */
export async function rawManifest(view: SkopeoView, name: string): Promise<string> {
  const access = view.access ?? ["--tls-verify=false"];
  const args = ["inspect", "--raw", ...access, `docker://${view.host}/${name}`];
  const outcome = await (view.runner ?? run)(view.skopeo, args);
  expect(outcome.stderr, `skopeo ${args.join(" ")}`).toBe("");
  return outcome.stdout;
}

/** Fails unless every manifest is in the registry with the very bytes that it was made of. */
export async function expectManifests(view: SkopeoView, manifests: readonly CorpusManifest[]): Promise<void> {
  const found = await Promise.all(manifests.map(async ({ name }) => [name, await rawManifest(view, name)]));
  expect(Object.fromEntries(found)).toEqual(
    Object.fromEntries(manifests.map(({ name, text }) => [name, text])),
  );
}
