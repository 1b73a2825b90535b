/**
 * What lies in the kernel between a relay and the program. A program that is killed has not seen it, so it counts
 * neither as fetched nor against the program: on a fast line that is up to 6 MiB a connection (tcp_rmem, tcp_wmem),
 * far more than what the program itself may lose.
 */
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";

const established = "01";

/**
 * Bytes that are on their way to the clients of a port of this machine: unread in their receive queues, or not yet
 * acknowledged. `table`: the text of /proc/net/tcp.
 */
export function unreadBytes(table: string, port: number): number {
  let sum = 0;
  for (const line of table.split("\n").slice(1)) {
    const [, local = "", remote = "", state, queues = ""] = line.trim().split(/\s+/);
    if (state !== established) continue;
    const [sending = "0", received = "0"] = queues.split(":");
    if (portOf(remote) === port) sum += Number.parseInt(received, 16);
    if (portOf(local) === port) sum += Number.parseInt(sending, 16);
  }
  return sum;
}

/** The kernel's table of connections; empty where there is no such thing. */
export function connectionTable(): string {
  try {
    return readFileSync("/proc/net/tcp", "utf8");
  } catch {
    return "";
  }
}

function portOf(address: string): number {
  return Number.parseInt(address.split(":")[1] ?? "", 16);
}

/** Stops a process as it is (SIGSTOP), and resolves when every thread of it stands still, or it has ended. */
export async function freezeProcess(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  for (;;) {
    const state = stateOf(pid);
    if (state === undefined || /[TtZX]/.test(state)) return;
    await setImmediate();
  }
}

/** The letter of ps(1); undefined if there is no such process. */
function stateOf(pid: number): string | undefined {
  try {
    return /^\d+ \(.*\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}
