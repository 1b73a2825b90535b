/** One process at a time, across vitest's workers. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

/** True while a process with this id lives. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/**
 * Runs `work` while holding the lock file `path`, which holds the owner's process id. A lock whose owner is dead is
 * taken over. Throws when the lock is not free after `timeoutMs` (default five minutes).
 */
export async function withLock<T>(path: string, work: () => Promise<T>, timeoutMs = 300_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    // Empty for the instant between the creation and the writing of the id: then it is somebody's.
    const owner = await readFile(path, "utf8").catch(() => "");
    if (owner !== "" && !isAlive(Number(owner))) await rm(path, { force: true });
    if (Date.now() > deadline) throw new Error(`Cannot lock ${path}: process ${owner} holds it`);
    await delay(50);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}
