/** What is wrong with an archive, in words. */
import { AppError } from "../../errors.ts";

/** An archive that is damaged, or says what is not so. */
export function damagedArchive(path: string, state: string, cause?: unknown): AppError {
  return new AppError("INTEGRITY", `Cannot read ${path}: ${state}`, {
    hint: "copy the archive again, or save it again",
    cause,
  });
}

/** An archive that is in order perhaps, and that this program does not read. */
export function unreadArchive(path: string, state: string, hint?: string): AppError {
  return new AppError("BUNDLE", `Cannot read ${path}: ${state}`, { hint });
}

/** A name out of an archive as it may be shown: what a terminal would obey is escaped, and its length bounded. */
export function shownName(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);
}
