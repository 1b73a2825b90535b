/**
 * Who is measured, and the command lines. Each peer gets the fastest way that we know of to do the whole task: one
 * file with all images (pull), a registry that has them all (push, sync). Several processes side by side where that
 * is faster for a peer; what it must do to end with one file, or to begin with one, counts.
 */
import { join } from "node:path";

/** The three tasks. */
export const tasks = ["pull", "push", "sync"] as const;
export type Task = (typeof tasks)[number];

/** Where things are during one run. All paths are absolute. */
export interface RunContext {
  /** `HOST:PORT/REPOSITORY` to read from. */
  readonly source: string;
  /** `HOST:PORT` and `HOST:PORT/REPOSITORY` to write to. */
  readonly targetHost: string;
  readonly target: string;
  /** One tag a line. */
  readonly tagsFile: string;
  /** One source reference a line. */
  readonly listFile: string;
  /** An empty folder for this run, which is the working folder too. */
  readonly work: string;
  /** The file to write, below `work` (pull), or to read (push). */
  readonly bundle: string;
}

/** A tool in the race. The functions give a script for bash, run with `set -e`. */
export interface Contender extends Readonly<Record<Task, (context: RunContext) => string>> {
  readonly name: string;
  /** The program that has to be there. */
  readonly program: string;
  /** Tags that the target has after a push; left out: all of them. */
  readonly pushedTags?: number;
}

/**
 * How the peers are called. tuned: as many at a time as makes each of them fastest here. plain: as their manuals
 * show it, with their own defaults and one process after the other, as most people run them.
 */
export type PeerSettings = "tuned" | "plain";

/** Quoted for bash. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Our own command. `program` is the node that runs it. */
export function mirror(projectRoot: string): Contender {
  const run = `${quote(process.execPath)} ${quote(join(projectRoot, "bin", "run.js"))}`;
  return {
    name: "mirror",
    program: process.execPath,
    pull: ({ listFile, bundle }) => `${run} pull -f ${quote(listFile)} --to ${quote(bundle)}`,
    push: ({ bundle, targetHost }) => `${run} push ${quote(bundle)} --registry ${targetHost}`,
    sync: ({ listFile, targetHost }) => `${run} sync -f ${quote(listFile)} --registry ${targetHost}`,
  };
}

/**
 * crane: one process for all images, which shares blobs. `push --index` sends the whole layout under one tag; it sets
 * no tag for each image, which is in crane's favour. `copy --all-tags` runs eight images at a time.
 */
const crane = (settings: PeerSettings): Contender => ({
  name: "crane",
  program: "crane",
  pushedTags: 1,
  pull: ({ listFile, bundle }) =>
    `xargs -a ${quote(listFile)} sh -c 'exec crane pull --format=oci "$@" layout' crane
tar -cf ${quote(bundle)} -C layout .`,
  push: ({ bundle, target }) => `mkdir layout
tar -xf ${quote(bundle)} -C layout
crane push --index layout ${target}:all`,
  sync: ({ source, target }) =>
    `crane copy --all-tags ${settings === "tuned" ? "--jobs 8 " : ""}${source} ${target}`,
});

/**
 * Runs a copy command for every tag (`"$1"`), `processes` side by side, each with a second try: docker-registry 2.8 may answer
 * 500 while another process puts the same blob, and neither skopeo nor oras tries that again.
 */
function forEachTag(tagsFile: string, command: string, settings: PeerSettings): string {
  return `copy() { ${command} >/dev/null; }
export -f copy
xargs -a ${quote(tagsFile)} -P ${settings === "tuned" ? 4 : 1} -I '{}' bash -c 'copy {} || copy {}'`;
}

const skopeoCopy = "skopeo copy --quiet --insecure-policy --preserve-digests --all";
const orasCopy = "oras cp --recursive --no-tty --from-plain-http --to-plain-http";

/**
 * skopeo: one image a process, four processes side by side. They cannot share an OCI layout, but its blob folder:
 * that is faster than one layout filled by one process after the other, and as small.
 */
const skopeo = (settings: PeerSettings): Contender => ({
  name: "skopeo",
  program: "skopeo",
  pull: ({ source, tagsFile, bundle }) =>
    `mkdir -p all/layouts all/blobs
${forEachTag(tagsFile, `${skopeoCopy} --src-tls-verify=false --dest-shared-blob-dir all/blobs docker://${source}:"$1" oci:all/layouts/"$1":"$1"`, settings)}
tar -cf ${quote(bundle)} -C all .`,
  push: ({ target, tagsFile, bundle }) =>
    `mkdir all
tar -xf ${quote(bundle)} -C all
${forEachTag(tagsFile, `${skopeoCopy} --dest-tls-verify=false --src-shared-blob-dir all/blobs oci:all/layouts/"$1":"$1" docker://${target}:"$1"`, settings)}`,
  sync: ({ source, target, tagsFile }) =>
    forEachTag(
      tagsFile,
      `${skopeoCopy} --src-tls-verify=false --dest-tls-verify=false docker://${source}:"$1" docker://${target}:"$1"`,
      settings,
    ),
});

/** oras: backup and restore take all tags of a repository in one process; cp takes one, so four side by side. */
const oras = (settings: PeerSettings): Contender => ({
  name: "oras",
  program: "oras",
  pull: ({ source, bundle }) =>
    `oras backup --plain-http --no-tty ${settings === "tuned" ? "--concurrency 8 " : ""}--output ${quote(bundle)} ${source}`,
  push: ({ target, bundle }) =>
    `oras restore --plain-http --no-tty ${settings === "tuned" ? "--concurrency 8 " : ""}--input ${quote(bundle)} ${target}`,
  sync: ({ source, target, tagsFile }) =>
    forEachTag(
      tagsFile,
      `${orasCopy} ${settings === "tuned" ? "--concurrency 5 " : ""}${source}:"$1" ${target}:"$1"`,
      settings,
    ),
});

/** The peers, called in one of two ways. */
export function peersFor(settings: PeerSettings): readonly Contender[] {
  return [crane(settings), skopeo(settings), oras(settings)];
}
