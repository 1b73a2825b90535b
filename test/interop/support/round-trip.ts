/** All that an operator does with a registry, one after the other, with the proof that it came out right. */
import { writeFile } from "node:fs/promises";
import { expect } from "vitest";
import { type TempDir, tempDir } from "../../support/temp.ts";
import type { AccessLog } from "./access-log.ts";
import { type CorpusImage, listOf, manifestsOf } from "./corpus.ts";
import type { Outcome } from "./process.ts";
import { expectManifests, type SkopeoView } from "./skopeo.ts";

/** One registry as its clients see it. */
export interface Place {
  readonly host: string;
  /** The log of the registry itself, behind whatever stands in front of it. */
  readonly accessLog: AccessLog;
}

/** What a round trip needs. */
export interface RoundTrip {
  /** Holds the images. */
  readonly source: Place;
  /** Two that hold nothing: for the push, and for the sync. */
  readonly pushed: Place;
  readonly synced: Place;
  readonly images: readonly CorpusImage[];
  /** Runs the program. */
  readonly mirror: (
    args: readonly string[],
    cwd: string,
  ) => Promise<Pick<Outcome, "stdout" | "stderr"> & { code: number | null }>;
  /** The flags that these registries need. */
  readonly flags?: (...hosts: readonly string[]) => readonly string[];
  readonly view: Omit<SkopeoView, "host">;
}

/**
 * Pull, push, push again, sync, sync again, verify and ls; then the manifests are compared by skopeo. Gives what the
 * program wrote to stderr, all runs together.
 */
export async function roundTrip(trip: RoundTrip): Promise<string> {
  await using work = await tempDir();
  return await runAll(trip, work);
}

async function runAll(trip: RoundTrip, work: TempDir): Promise<string> {
  const { source, pushed, synced, images, flags = () => [], view } = trip;
  let written = "";
  const done = async (args: readonly string[], hosts: readonly string[]): Promise<string> => {
    const result = await trip.mirror([...args, ...flags(...hosts)], work.path);
    expect(result, `mirror ${args.join(" ")}\n${result.stderr}`).toMatchObject({ code: 0 });
    written += result.stderr;
    return result.stdout;
  };
  await writeFile(work.join("manifests.yaml"), listOf(source.host, images));
  await done(["pull", "--to", "bundle.tar"], [source.host]);
  const targets = [
    { place: pushed, copy: ["push", "bundle.tar"], hosts: [pushed.host] },
    { place: synced, copy: ["sync"], hosts: [source.host, synced.host] },
  ];
  for (const { place, copy, hosts } of targets) {
    const { host, accessLog } = place;
    await done([...copy, "--registry", host], hosts);
    await accessLog.clear();
    const again = JSON.parse(await done([...copy, "--registry", host, "--json"], hosts)) as {
      readonly images: readonly { readonly status: string }[];
    };
    expect(again.images.map(({ status }) => status)).toEqual(images.map(() => "unchanged"));
    const sent = (await accessLog.requests()).filter(({ method }) => method !== "GET" && method !== "HEAD");
    expect(sent).toEqual([]);
    await expectManifests({ ...view, host }, manifestsOf(images));
  }
  const { host } = pushed;
  await done(["verify", "bundle.tar", "--registry", host], [host]);
  const names = images.map(({ repository, tag }) => `${host}/${repository}:${tag}`);
  expect((await done(["ls", host], [host])).trim().split("\n").sort()).toEqual([...names].sort());
  return written;
}
