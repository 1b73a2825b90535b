/** Which volumes of a bundle are in a folder, by their names, sizes and checksum lists. */
import { readFile, stat } from "node:fs/promises";
import { AppError, isAppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { volumeCount, volumeSize } from "./geometry.ts";
import { findVolumeFiles, parseVolumePath, type VolumeFiles, volumePath } from "./names.ts";
import { maxSumBytes, parseSumFile, type SumFile } from "./sum-file.ts";

/** What is there of one volume. */
export interface VolumeState {
  /** Counted from 1. */
  readonly volume: number;
  readonly path: string;
  /**
   * `there`: with its list. `unlisted`: without one, or with one that is damaged. `missing`; `cut`: it has another
   * size; `foreign`: its list says that it is of another bundle.
   */
  readonly state: "there" | "unlisted" | "missing" | "cut" | "foreign";
  /** Its size as it is, in bytes; undefined if it is missing. */
  readonly found?: number | undefined;
  /** The size that it should have, in bytes. */
  readonly size: number;
  /** Hexadecimal, of the whole volume, by its list. */
  readonly sha256?: string | undefined;
}

/** A bundle in volumes, of which some may be missing. */
export interface FoundSet {
  /** The path of the whole: `bundle.tar`. */
  readonly path: string;
  /** Tells bundles apart; undefined if no list says it. */
  readonly bundle?: Digest;
  readonly volumeBytes: number;
  readonly totalBytes: number;
  /** In the order of the volumes, one for each that there should be. */
  readonly states: readonly VolumeState[];
  /** Its lists, to be read again: they may be large. */
  readonly sums: readonly (() => Promise<SumFile | undefined>)[];
}

type Listed = Omit<SumFile, "packedFront" | "blobs">;

/**
 * Looks for the set that a path means; undefined if it means none. Throws BUNDLE for lists of another version,
 * INTEGRITY if no list is readable and volumes are missing, and what the system says.
 */
export async function findSet(path: string): Promise<FoundSet | undefined> {
  const named = await namedVolume(path);
  if (named === undefined) return undefined;
  const files = await findVolumeFiles(named.path);
  const listed = await readLists(files);
  const reference = listed.get(named.volume) ?? mostFrequent([...listed.values()]);
  if (reference === undefined) return await withoutLists(named, files);
  const { bundle, volumeBytes, bundleBytes: totalBytes, volumes } = reference;
  const states: VolumeState[] = [];
  for (let volume = 1; volume <= volumes; volume += 1) {
    const list = listed.get(volume);
    const size = volumeSize(volume, totalBytes, volumeBytes);
    const file = files.volumes.get(volume);
    const found = file === undefined ? undefined : (await stat(file)).size;
    const belongs = list === undefined || (list.bundle === bundle && list.volumeBytes === volumeBytes);
    const common = { volume, path: file ?? volumePath(named.path, volume, volumes), found, size };
    if (found === undefined) states.push({ ...common, state: "missing" });
    else if (!belongs) states.push({ ...common, state: "foreign" });
    else if (found !== size) states.push({ ...common, state: "cut" });
    else states.push({ ...common, state: list === undefined ? "unlisted" : "there", sha256: list?.sha256 });
  }
  const sums = [...files.sums].flatMap(([volume, file]) =>
    listed.get(volume)?.bundle === bundle ? [async () => await readList(file)] : [],
  );
  return { path: named.path, bundle, volumeBytes, totalBytes, states, sums };
}

/** True if a path means a set, by the names of the files alone: no list is read. Throws what the system says. */
export async function meansSet(path: string): Promise<boolean> {
  return (await namedVolume(path)) !== undefined;
}

/** The bundle and the volume (0 for none of them) that a path means; undefined if it cannot mean any. */
async function namedVolume(path: string): Promise<{ path: string; volume: number } | undefined> {
  const found = await stat(path).catch(() => undefined);
  const parsed = parseVolumePath(path);
  if (found === undefined) {
    const { volumes } = await findVolumeFiles(path);
    return volumes.size === 0 ? undefined : { path, volume: 0 };
  }
  if (!found.isFile() || parsed === undefined) return undefined;
  const { volumes, sums } = await findVolumeFiles(parsed.path);
  // Any file may end with a number.
  const isOne = sums.size > 0 || volumes.size > 1 || parsed.volume === 1;
  return isOne ? parsed : undefined;
}

async function readLists(files: VolumeFiles): Promise<ReadonlyMap<number, Listed>> {
  const listed = new Map<number, Listed>();
  for (const [volume, file] of [...files.sums].sort(([a], [b]) => a - b)) {
    const sum = await readList(file);
    // One that was renamed by hand says of another volume what it says.
    if (sum?.volume !== volume) continue;
    // Of what may be large, one is in memory at a time.
    const { packedFront: _front, blobs: _blobs, ...rest } = sum;
    listed.set(volume, rest);
  }
  return listed;
}

/** A list; undefined if it is damaged. */
async function readList(path: string): Promise<SumFile | undefined> {
  if ((await stat(path)).size > maxSumBytes) return undefined;
  try {
    return parseSumFile(await readFile(path, "latin1"));
  } catch (error) {
    if (!isAppError(error)) throw error;
    throw new AppError(error.code, `Cannot read ${path}: ${error.message}`, {
      hint: error.hint,
      cause: error,
    });
  }
}

function mostFrequent(lists: readonly Listed[]): Listed | undefined {
  const counts = new Map<Digest, number>();
  for (const { bundle } of lists) counts.set(bundle, (counts.get(bundle) ?? 0) + 1);
  return lists.toSorted((a, b) => (counts.get(b.bundle) ?? 0) - (counts.get(a.bundle) ?? 0))[0];
}

/** Without any list, all volumes have to be there: how many there should be, the first one says. */
async function withoutLists(
  named: { readonly path: string; readonly volume: number },
  files: VolumeFiles,
): Promise<FoundSet> {
  const last = Math.max(...files.volumes.keys());
  const states: VolumeState[] = [];
  let totalBytes = 0;
  for (let volume = 1; volume <= last; volume += 1) {
    const file = files.volumes.get(volume);
    if (file === undefined) {
      const missing = volumePath(named.path, volume, last);
      throw new AppError("INTEGRITY", `Cannot read ${named.path}: ${missing} is missing`, {
        hint: "put it beside the others, or the checksum lists of the volumes that are there",
      });
    }
    const { size } = await stat(file);
    states.push({ volume, path: file, state: "unlisted", found: size, size });
    totalBytes += size;
  }
  const volumeBytes = Math.max(1, states[0]?.size ?? 1);
  const uneven = states.find(({ volume, size }) => size !== volumeSize(volume, totalBytes, volumeBytes));
  if (uneven !== undefined || volumeCount(totalBytes, volumeBytes) !== last) {
    throw new AppError("INTEGRITY", `Cannot read ${named.path}: its volumes are not of one size`, {
      hint: "copy them again, with their checksum lists",
    });
  }
  return { path: named.path, volumeBytes, totalBytes, states, sums: [] };
}
