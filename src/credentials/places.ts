/** The files that credentials are looked for in, and the one that they are stored in. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { AuthFileFormat } from "./auth-file.ts";

/** A file that may hold credentials. */
export interface AuthPlace {
  readonly path: string;
  readonly format: AuthFileFormat;
  /** Podman's files have no `credsStore`. */
  readonly asksStore: boolean;
  /** What names the file, for the message if it is not there; undefined if it need not be. */
  readonly namedBy?: string;
}

/** The path of Docker's config.json: `$DOCKER_CONFIG/config.json`, otherwise `~/.docker/config.json`. */
export function dockerConfigPath(env: NodeJS.ProcessEnv): string {
  return join(env["DOCKER_CONFIG"] || join(homeOf(env), ".docker"), "config.json");
}

/** The one file that the user names, by `--authfile` or Podman's `REGISTRY_AUTH_FILE`; no other is read then. */
export function namedAuthFile(env: NodeJS.ProcessEnv, authfile?: string): AuthPlace | undefined {
  const path = authfile || env["REGISTRY_AUTH_FILE"];
  if (!path) return undefined;
  return { path, format: "any", asksStore: true, namedBy: authfile ? "--authfile" : "REGISTRY_AUTH_FILE" };
}

/** The files to look into, in this order (containers-auth.json.5, after Docker's own). */
export function authPlaces(env: NodeJS.ProcessEnv, authfile?: string): readonly AuthPlace[] {
  const named = namedAuthFile(env, authfile);
  if (named !== undefined) return [named];
  const home = homeOf(env);
  const isLinux = process.platform === "linux";
  const runtime = env["XDG_RUNTIME_DIR"] || `/run/containers/${process.getuid?.() ?? 0}`;
  const runtimeFile = env["XDG_RUNTIME_DIR"]
    ? join(runtime, "containers", "auth.json")
    : join(runtime, "auth.json");
  const containers = [
    ...(isLinux ? [runtimeFile] : []),
    join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers", "auth.json"),
  ];
  return [
    { path: dockerConfigPath(env), format: "docker", asksStore: true },
    ...containers.map((path) => ({ path, format: "docker", asksStore: false }) as const),
    { path: join(home, ".dockercfg"), format: "legacy", asksStore: false },
  ];
}

function homeOf(env: NodeJS.ProcessEnv): string {
  return env["HOME"] || homedir();
}
