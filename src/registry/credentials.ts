/** Credentials from Docker's `config.json` (`auths`), looked up as Docker does it. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { Credential } from "../content/credential.ts";
import { AppError, systemCode } from "../errors.ts";

const Entry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});
const Config = z.object({ auths: z.record(z.string(), Entry.nullable()).optional() });

/** The keys under which tools store Docker Hub's credentials, in the order they are tried. */
const dockerHubKeys = ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

/** The path of Docker's config.json: `$DOCKER_CONFIG/config.json`, otherwise `~/.docker/config.json`. */
export function dockerConfigPath(env: NodeJS.ProcessEnv): string {
  const folder = env["DOCKER_CONFIG"];
  return join(
    folder === undefined || folder === "" ? join(env["HOME"] ?? homedir(), ".docker") : folder,
    "config.json",
  );
}

/**
 * The credential for a registry (`host[:port]`, or `docker.io`) in Docker's config.json; undefined if there is
 * none or no such file. Throws AUTH for a file that cannot be read.
 */
export async function dockerCredential(
  registry: string,
  env: NodeJS.ProcessEnv,
): Promise<Credential | undefined> {
  const path = dockerConfigPath(env);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw new AppError("AUTH", `Cannot read ${path}: ${systemCode(error) ?? "it cannot be opened"}`, {
      cause: error,
    });
  }
  const config = parseConfig(text, path);
  const keys = registry === "docker.io" ? dockerHubKeys : [registry];
  const auths = Object.entries(config.auths ?? {});
  for (const key of keys) {
    // The exact key first, then any key that means the same host, as in https://host/v1/. An entry that holds
    // nothing (Docker leaves `{}` behind) means to look on.
    const exact = auths.filter(([name]) => name === key);
    const alike = auths.filter(([name]) => name !== key && hostOfKey(name) === hostOfKey(key));
    for (const [name, entry] of [...exact, ...alike]) {
      const credential = entry === null ? undefined : toCredential(entry, `${path} (key ${name})`);
      if (credential !== undefined) return credential;
    }
  }
  return undefined;
}

function parseConfig(text: string, path: string): z.infer<typeof Config> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, and with it a secret: it is not kept as the cause.
    throw new AppError("AUTH", `Cannot read ${path}: it is not JSON`, {
      hint: "mend the file, or point DOCKER_CONFIG at another folder",
    });
  }
  const parsed = Config.safeParse(document);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new AppError(
    "AUTH",
    `Cannot read ${path}: ${issue?.path.join(".") ?? "it"} is not as Docker writes it`,
  );
}

/** `https://reg.example.com/v1/` and `reg.example.com` name the same host, as Docker's ConvertToHostname has it. */
function hostOfKey(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
}

function toCredential(entry: z.infer<typeof Entry>, origin: string): Credential | undefined {
  const decoded =
    entry.auth === undefined ? "" : Buffer.from(entry.auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = decoded.indexOf(":");
  const username = entry.username ?? (colon > 0 ? decoded.slice(0, colon) : undefined);
  const password = entry.password ?? (colon > 0 ? decoded.slice(colon + 1) : undefined);
  const { identitytoken: identityToken, registrytoken: registryToken } = entry;
  const usable = (username && password) || identityToken || registryToken;
  return usable ? { username, password, identityToken, registryToken, origin } : undefined;
}
