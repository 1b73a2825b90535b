/** Where the program keeps what is of use to its next run (XDG Base Directory Specification). */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** The folder; undefined where nothing says where that could be: then nothing is kept. */
export function stateFolder(env: NodeJS.ProcessEnv): string | undefined {
  const state = env["XDG_STATE_HOME"];
  // "All paths set in these environment variables must be absolute"; others are to be ignored.
  if (state !== undefined && isAbsolute(state)) return join(state, "mirror");
  const home = env["HOME"] || homeOfUser();
  return isAbsolute(home) ? join(home, ".local", "state", "mirror") : undefined;
}

function homeOfUser(): string {
  try {
    return homedir();
  } catch {
    // A user that the system does not know, as in many containers.
    return "";
  }
}
