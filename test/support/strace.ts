/** strace, to let a system call of the program fail or take its time, as a bad disk does. */
import { spawnSync } from "node:child_process";

/** True where strace is installed and may trace. */
export const hasStrace =
  spawnSync("strace", ["-qq", "-o", "/dev/null", "true"], { stdio: "ignore" }).status === 0;

/**
 * What to put in front of the program (`under`): calls on the file at `path` are tampered with as `inject` says
 * (strace(1) "Tampering": `pread64:error=EIO:when=10+`). The program stays the child of whoever starts it.
 */
export function tampered(inject: string, path: string): readonly string[] {
  const call = /^[\w,]+/.exec(inject)?.[0] ?? "";
  const trace = ["-e", `trace=${call}`, "-e", `inject=${inject}`, "-P", path];
  return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", ...trace];
}

/** One thread for files: strace counts the calls of each thread for itself. */
export const oneThread = { UV_THREADPOOL_SIZE: "1" } as const;
