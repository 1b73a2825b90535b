/**
 * Loaded into the program by the crash tests (NODE_OPTIONS=--import=…), and by nothing else: listens to the named
 * points that src/content/points.ts tells, and ends the program at one of them.
 *
 *     CRASH_AT      `blob:written#3`: at the third point of this name the program gets the signal
 *     CRASH_SIGNAL  SIGKILL if left out
 *     CRASH_LOG     file that gets a line for each point, and for the signal: the name, and milliseconds since 1970
 *     CRASH_NET     file that gets the kernel's table of connections as it is at the signal
 */
import { subscribe } from "node:diagnostics_channel";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

const { CRASH_AT = "", CRASH_SIGNAL = "SIGKILL", CRASH_LOG, CRASH_NET } = process.env;
const [wanted, number = "1"] = CRASH_AT.split("#");
let count = 0;

const log = (name) => void (CRASH_LOG && appendFileSync(CRASH_LOG, `${name} ${Date.now()}\n`));

subscribe("mirror:point", ({ name }) => {
  log(name);
  if (name !== wanted) return;
  count += 1;
  if (count !== Number(number)) return;
  if (CRASH_NET) writeFileSync(CRASH_NET, readFileSync("/proc/self/net/tcp"));
  log("signal");
  process.kill(process.pid, CRASH_SIGNAL);
});
