/** Whether a bundle may be written here, found out before anything is fetched for it. */
import { access, constants, lstat, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { AppError, systemCode } from "../errors.ts";
import { asDiskError, diskError } from "./disk.ts";
import { journalPath, partPath, spillPath } from "./part-place.ts";

const stickyBit = 0o1000;

/**
 * Throws DISK for what no run of ours has left where it keeps its work: a link would have something else written over,
 * wherever it leads.
 */
async function refuseForeign(file: string): Promise<void> {
  const found = await lstat(file).catch(() => undefined);
  if (found === undefined || found.isFile()) return;
  const what = found.isSymbolicLink()
    ? "a symbolic link"
    : found.isDirectory()
      ? "a folder"
      : "no regular file";
  throw new AppError("DISK", `Cannot write ${file}: it is ${what}`, {
    hint: "remove it, or choose another name for the bundle",
  });
}

/**
 * Makes sure that this user may make files in the folder of a bundle, go on with what an earlier run left there, and
 * replace the bundle that is there. Throws DISK.
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(path);
  await access(folder, constants.W_OK | constants.X_OK).catch(asDiskError(`write ${path}`));
  for (const file of [partPath(path), journalPath(path), spillPath(path)]) {
    await refuseForeign(file);
    await access(file, constants.W_OK).catch((error: unknown) => {
      if (systemCode(error) !== "ENOENT") throw diskError(`write ${file}`, error);
    });
  }
  const user = process.getuid?.();
  const existing = await stat(path).catch(() => undefined);
  if (user === undefined || user === 0 || existing === undefined || existing.uid === user) return;
  // In a folder like /tmp, only its owner and that of the folder may replace a file.
  const { mode, uid } = await stat(folder);
  if ((mode & stickyBit) === 0 || uid === user) return;
  throw new AppError(
    "DISK",
    `Cannot write ${path}: it belongs to another user, and so it stays in ${folder}`,
    {
      hint: "choose another name or folder",
    },
  );
}
