/** What can be wrong with a bundle that comes through a pipe, in words. `name` is what the pipe is called. */
import { AppError } from "../../errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { shownName } from "../archive/archive-error.ts";

const again = "run the pipe again: what has arrived is not sent again";

/** The content is not what it has to be. */
export function damaged(name: string, state: string, cause?: unknown): AppError {
  return new AppError("INTEGRITY", `Cannot verify ${name}: ${state}`, { hint: again, cause });
}

/** The stream ended; `digest` was still to come, if one was. */
export function endedEarly(
  name: string,
  {
    got,
    expected,
    digest,
  }: { readonly got: number; readonly expected: number; readonly digest?: Digest | undefined },
): AppError {
  const ended = `ended after ${got} of ${expected} bytes`;
  return new AppError(
    "INTEGRITY",
    `Cannot verify ${name}: ${digest === undefined ? `it ${ended}` : `${digest} is missing, since it ${ended}`}`,
    { hint: `look at what the program that writes it says, and ${again}` },
  );
}

/** It is something else. */
export function notABundle(name: string, cause?: unknown): AppError {
  return new AppError("BUNDLE", `Cannot read ${name}: it is not a bundle that mirror pull wrote`, {
    hint: "look at what the program that writes it says, or pull it again",
    cause,
  });
}

/** Nothing came. */
export function nothingCame(name: string): AppError {
  return new AppError("BUNDLE", `Cannot read ${name}: nothing came`, {
    hint: "look at what the program that writes it says",
  });
}

/** A file of an archive was asked for that has gone by. */
export function archiveGoneBy(name: string, file: string): AppError {
  return new AppError("NOT_FOUND", `Cannot read ${shownName(file)} from ${name} again: it has gone by`, {
    hint: "run the pipe again, or store the archive in a file first and name that",
    side: "source",
  });
}

/** Content was asked for that has gone by. */
export function goneBy(name: string, digest: Digest): AppError {
  return new AppError(
    "NOT_FOUND",
    `Cannot read ${digest} from ${name} again: what is wanted of it has gone by`,
    { hint: `${again}; or store the bundle in a file first, and push that`, side: "source" },
  );
}
