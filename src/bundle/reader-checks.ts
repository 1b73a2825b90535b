/** What a reader of bundles refuses, and in which words. */
import type { FileHandle } from "node:fs/promises";
import { AppError } from "../errors.ts";
import { readExactly } from "./disk.ts";

interface HeaderPlace {
  readonly header: Buffer;
  readonly headerOffset: number;
}

/** Reads a tar header and compares it with the one that the layout rule makes. Throws INTEGRITY or DISK. */
export async function checkHeader(
  file: FileHandle,
  path: string,
  place: HeaderPlace,
  name: string,
): Promise<void> {
  compareHeader(
    await readExactly(file, place.headerOffset, place.header.byteLength, path),
    path,
    place,
    name,
  );
}

/** Throws INTEGRITY if a tar header is not the one that the layout rule makes. `name` says whose it is. */
export function compareHeader(found: Uint8Array, path: string, place: HeaderPlace, name: string): void {
  if (!place.header.equals(found)) throw damaged(path, `the tar header of ${name} is not as it was written`);
}

/** INTEGRITY: what is wrong with a bundle. */
export function damaged(path: string, state: string, cause?: unknown): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${path}: ${state}`, {
    hint: "copy the bundle again, or pull it again",
    cause,
  });
}

/** BUNDLE: a file that is something else. */
export function notABundle(path: string, cause?: unknown): AppError {
  return new AppError("BUNDLE", `Cannot read ${path}: it is not a bundle that mirror pull wrote`, {
    hint: "a bundle is a plain tar, not compressed, with a mirror.json in it",
    cause,
  });
}
