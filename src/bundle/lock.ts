/** One program at a time writes a bundle: a lock file beside it holds the process id of the one that does. */
import { open, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { z } from "zod";
import { AppError, systemCode } from "../errors.ts";
import { diskError } from "./disk.ts";

const Owner = z.object({ pid: z.number().int().positive(), host: z.string() });
const maxTries = 5;

/** The lock of one bundle that is being written. */
export class BundleLock {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * Takes the lock of a bundle. One whose owner has died on this machine is taken over. Throws CONFLICT with the
   * owner's process id, or DISK.
   */
  static async take(bundle: string): Promise<BundleLock> {
    const path = `${bundle}.part.lock`;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const file = await open(path, "wx", 0o644);
        await file
          .writeFile(JSON.stringify({ pid: process.pid, host: hostname() }))
          .finally(async () => await file.close());
        return new BundleLock(path);
      } catch (error) {
        if (systemCode(error) !== "EEXIST") throw diskError(`write ${path}`, error);
        const owner = await readOwner(path);
        if (attempt === maxTries || (owner !== undefined && isAlive(owner))) throw taken(bundle, path, owner);
        await rm(path, { force: true });
      }
    }
  }

  /** Gives the lock back. */
  async release(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

/** Who holds a lock; undefined for a torn one, which nobody holds, or one that is gone by now. */
async function readOwner(path: string): Promise<z.infer<typeof Owner> | undefined> {
  const text = await readFile(path, "utf8").catch(() => "");
  try {
    return Owner.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** A process of another machine (a shared folder) counts as alive: nobody here can tell. */
function isAlive({ pid, host }: z.infer<typeof Owner>): boolean {
  if (host !== hostname()) return true;
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== "ESRCH";
  }
}

function taken(bundle: string, path: string, owner: z.infer<typeof Owner> | undefined): AppError {
  const who = owner === undefined ? "another process" : `process ${owner.pid} on ${owner.host}`;
  return new AppError("CONFLICT", `Cannot write ${bundle}: ${who} is writing it`, {
    hint: `wait for it to end; if it is no mirror, remove ${path}`,
    ...(owner === undefined ? {} : { details: { pid: owner.pid, host: owner.host } }),
  });
}
