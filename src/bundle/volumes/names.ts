/**
 * What the volumes of `bundle.tar` are called: `bundle.tar.001`, and `bundle.tar-001.sum` for the checksum list, which
 * `cat bundle.tar.*` must not join.
 */
import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { systemCode } from "../../errors.ts";

const minDigits = 3;

/** The path of a volume (counted from 1) of a bundle in so many volumes: names sort in the order of the volumes. */
export function volumePath(path: string, volume: number, count: number): string {
  return `${path}.${numbered(volume, count)}`;
}

/** The path of a volume's checksum list. */
export function sumPath(path: string, volume: number, count: number): string {
  return `${path}-${numbered(volume, count)}.sum`;
}

/** Where a volume grows. How many there will be is not settled yet. */
export function volumePartPath(path: string, volume: number): string {
  return `${volumePath(path, volume, 0)}.part`;
}

/** The bundle and number that a volume's path means; undefined for any other path. */
export function parseVolumePath(
  path: string,
): { readonly path: string; readonly volume: number } | undefined {
  const [, base, digits] = /^(.*[^/])\.([0-9]{3,6})$/s.exec(path) ?? [];
  const volume = Number(digits);
  return base === undefined || volume < 1 ? undefined : { path: base, volume };
}

/** The files of a set that are in its folder, by the number of their volume. Paths. */
export interface VolumeFiles {
  readonly volumes: ReadonlyMap<number, string>;
  readonly sums: ReadonlyMap<number, string>;
  readonly parts: ReadonlyMap<number, string>;
  readonly sumParts: ReadonlyMap<number, string>;
}

/** Looks for the volumes of a bundle: files, since whoever opens a pipe waits. Empty where there is no such folder. */
export async function findVolumeFiles(path: string): Promise<VolumeFiles> {
  const folder = dirname(path);
  const name = basename(path);
  const found = { volumes: new Map(), sums: new Map(), parts: new Map(), sumParts: new Map() };
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return [];
    throw error;
  });
  for (const entry of entries) {
    const { name: file } = entry;
    if (!file.startsWith(name)) continue;
    const [, volume, part] = /^\.([0-9]{3,6})(\.part)?$/.exec(file.slice(name.length)) ?? [];
    const [, sum, sumPart] = /^-([0-9]{3,6})\.sum(\.part)?$/.exec(file.slice(name.length)) ?? [];
    if ((volume ?? sum) === undefined || !(await isFile(entry, folder))) continue;
    if (volume !== undefined)
      (part === undefined ? found.volumes : found.parts).set(Number(volume), join(folder, file));
    if (sum !== undefined)
      (sumPart === undefined ? found.sums : found.sumParts).set(Number(sum), join(folder, file));
  }
  return found;
}

/** A path by which to open what has the name of a bundle already: in volumes, if that is what is to be written. */
export async function existingPath(path: string, volumeBytes: number | undefined): Promise<string> {
  const { volumes } =
    volumeBytes === undefined ? { volumes: new Map<number, string>() } : await findVolumeFiles(path);
  return [...volumes.values()][0] ?? path;
}

/** True for a file, also behind a link. */
async function isFile(entry: Dirent, folder: string): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isFile();
  const found = await stat(join(folder, entry.name)).catch(() => undefined);
  return found?.isFile() === true;
}

function numbered(volume: number, count: number): string {
  return String(volume).padStart(Math.max(minDigits, String(count).length), "0");
}
