/**
 * One program at a time writes a bundle: a lock file beside it says which process does. A lock appears whole, or not at
 * all. One whose owner has died is removed by whoever holds the lock of that very lock (its name is the digest of
 * the text, so no two locks share it): of two programs that find it, one cannot remove what the other has put in
 * its place meanwhile.
 */
import { createHash, randomBytes } from "node:crypto";
import { link, open, readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive, Owner, thisProcess } from "../content/owner.ts";
import { reached } from "../content/points.ts";
import { AppError, systemCode } from "../errors.ts";
import { diskError } from "./disk.ts";
import { lockPath } from "./part-place.ts";

/** Others may come and go while we try: beyond this something else is wrong. */
const maxTries = 50;
/** How long a lock may be torn because it is being written, where files cannot appear whole: in milliseconds. */
const tornMs = 25;
const maxTornTries = 20;

/** The lock of one bundle that is being written. */
export class BundleLock {
  readonly #path: string;
  readonly #text: string;

  private constructor(path: string, text: string) {
    this.#path = path;
    this.#text = text;
  }

  /**
   * Takes the lock of a bundle. One whose owner has died on this machine is taken over. Throws CONFLICT with the
   * owner's process id, or DISK.
   */
  static async take(bundle: string): Promise<BundleLock> {
    const path = lockPath(bundle);
    const text = JSON.stringify({ ...thisProcess(), nonce: randomBytes(8).toString("hex") });
    try {
      await acquire(path, text);
    } catch (error) {
      if (error instanceof Held) throw taken(bundle, path, error.owner);
      throw diskError(`write ${path}`, error);
    }
    reached("lock:taken");
    return new BundleLock(path, text);
  }

  /** True if there is a lock, whether anybody holds it or not. */
  static async isThere(bundle: string): Promise<boolean> {
    return await readFile(lockPath(bundle)).then(
      () => true,
      () => false,
    );
  }

  /** Gives the lock back, unless somebody has taken it away. */
  async release(): Promise<void> {
    await remove(this.#path, this.#text);
  }
}

/** Somebody else has the lock. */
class Held extends Error {
  readonly owner: Owner | undefined;

  constructor(owner: Owner | undefined) {
    super("the lock is held");
    this.owner = owner;
  }
}

/** Makes the lock file ours. Throws Held, or what the system says. */
async function acquire(path: string, text: string): Promise<void> {
  let torn = 0;
  for (let attempt = 1; attempt <= maxTries; attempt += 1) {
    if (await appear(path, text)) return;
    const found = await readFile(path, "utf8").catch((error: unknown) => {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    });
    if (found === undefined) continue;
    const owner = ownerIn(found);
    if (owner !== undefined && isAlive(owner)) throw new Held(owner);
    if (owner === undefined && torn < maxTornTries) {
      torn += 1;
      await sleep(tornMs);
      continue;
    }
    await breakStale(path, found, text);
  }
  throw new Held(undefined);
}

/** Removes a lock that nobody holds, unless it is another one by now. */
async function breakStale(path: string, stale: string, text: string): Promise<void> {
  const guard = `${path}.${createHash("sha256").update(stale).digest("hex").slice(0, 16)}`;
  await acquire(guard, text);
  try {
    await remove(path, stale);
  } finally {
    await remove(guard, text);
  }
}

async function remove(path: string, text: string): Promise<void> {
  const found = await readFile(path, "utf8").catch(() => undefined);
  if (found === text) await rm(path, { force: true });
}

/** Makes a file with all of its text at once. False if there is one. */
async function appear(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${randomBytes(8).toString("hex")}.new`;
  try {
    await write(draft, text);
    await link(draft, path);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    // The file systems of USB disks have no links.
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(systemCode(error) ?? ""))
      throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return await write(path, text).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === "EEXIST") return false;
      throw error;
    },
  );
}

async function write(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o644);
  await file.writeFile(text).finally(async () => await file.close());
}

/** Who holds a lock; undefined for a torn one, which nobody holds. */
function ownerIn(text: string): Owner | undefined {
  try {
    return Owner.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function taken(bundle: string, path: string, owner: Owner | undefined): AppError {
  const who = owner === undefined ? "another process" : `process ${owner.pid} on ${owner.host}`;
  return new AppError("CONFLICT", `Cannot write ${bundle}: ${who} is writing it`, {
    hint: `wait for it to end; if it is no mirror, remove ${path}`,
    ...(owner === undefined ? {} : { details: { pid: owner.pid, host: owner.host } }),
  });
}
