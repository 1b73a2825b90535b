/**
 * Who a process is, so that what it leaves behind can be told from what is still in use: a process id alone is given
 * to another process sooner or later, in a container at once.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { z } from "zod";
import { systemCode } from "../errors.ts";

/** A process. All but its id and its machine is known only where there is a /proc. */
export type Owner = z.infer<typeof Owner>;
export const Owner = z.object({
  pid: z.number().int().positive(),
  host: z.string(),
  /** Which run of the machine: the kernel's boot id. */
  boot: z.string().optional(),
  /** When the process began, in ticks since the boot. */
  started: z.string().optional(),
  /** Which process ids are meant: those of a container are its own. */
  space: z.string().optional(),
});

let own: Owner | undefined;

/** This process. */
export function thisProcess(): Owner {
  own ??= {
    pid: process.pid,
    host: hostname(),
    boot: attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
    started: statusOf("self")?.started,
    space: attempt(() => readlinkSync("/proc/self/ns/pid")),
  };
  return own;
}

/**
 * False if the process is known to have ended: its id is free, or another process has it by now. One that nobody here
 * can look at (on another machine, in another container) counts as alive.
 */
export function isAlive(owner: Owner): boolean {
  const self = thisProcess();
  if (owner.host !== self.host) return true;
  if (differ(owner.boot, self.boot)) return false;
  if (differ(owner.space, self.space)) return true;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (systemCode(error) === "ESRCH") return false;
  }
  const status = statusOf(`${owner.pid}`);
  return status === undefined || !(status.ended || differ(owner.started, status.started));
}

function differ(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other;
}

/** What proc(5) tells of a process; undefined where it tells nothing. */
function statusOf(
  pid: string,
): { readonly started: string | undefined; readonly ended: boolean } | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  // The second field is the program's name, which may have spaces and brackets of its own.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  // A zombie has ended; whoever started it has not asked how.
  return { started: fields[19], ended: fields[0] === "Z" || fields[0] === "X" };
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
