/** What the tests of credentials share: homes with files in them, and helpers that are real programs. */
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Credential } from "../../src/content/credential.ts";
import {
  Credentials,
  type CredentialsOptions,
  type RegistryOptions,
} from "../../src/credentials/credentials.ts";
import { type TempDir, tempDir } from "../support/temp.ts";

/** An entry under `auths`. */
export function auth(text: string): { readonly auth: string } {
  return { auth: Buffer.from(text).toString("base64") };
}

/** A home folder in which every place of credentials lies. */
export interface Home extends AsyncDisposable {
  readonly dir: TempDir;
  /** Points every place into the home, and the PATH to its helpers first. */
  env(extra?: Readonly<Record<string, string>>): NodeJS.ProcessEnv;
  /** Writes a file (an object as JSON), with its folders. Gives its path. */
  write(path: string, content: unknown): Promise<string>;
  /** Makes the program `docker-credential-NAME` of a shell script. */
  helper(name: string, script: string): Promise<void>;
  /** A helper that keeps its secrets in files of the home, and says what it was asked in `NAME.log`. */
  keychain(name: string): Promise<void>;
  /** The lines of a helper's log: `get reg.example`. */
  asked(name: string): Promise<readonly string[]>;
  find(
    registry: string,
    options?: Partial<CredentialsOptions> & RegistryOptions & { readonly repository?: string },
  ): Promise<Credential | undefined>;
}

/** Makes one. */
export async function makeHome(): Promise<Home> {
  const dir = await tempDir();
  const home: Home = {
    dir,
    env: (extra = {}) => ({
      HOME: dir.path,
      PATH: `${dir.join("bin")}:${process.env["PATH"] ?? ""}`,
      DOCKER_CONFIG: dir.join(".docker"),
      XDG_RUNTIME_DIR: dir.join("run"),
      XDG_CONFIG_HOME: dir.join(".config"),
      ...extra,
    }),
    write: async (path, content) => {
      const file = dir.join(path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, typeof content === "string" ? content : JSON.stringify(content));
      return file;
    },
    helper: async (name, script) => {
      const file = await home.write(`bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`);
      await chmod(file, 0o755);
    },
    keychain: async (name) => {
      const log = dir.join(`${name}.log`);
      await home.helper(
        name,
        // A file a key, named by its checksum.
        `in=$(cat)
case $1 in store) key=$(echo "$in" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/');; *) key=$in;; esac
echo "$1 $key" >> ${log}
file=${dir.path}/${name}.$(printf %s "$key" | cksum | cut -d' ' -f1)
case $1 in
  store) printf %s "$in" > $file;;
  get) cat $file 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; };;
  erase) rm -f $file;;
esac`,
      );
    },
    asked: async (name) =>
      (await readFile(dir.join(`${name}.log`), "utf8").catch(() => "")).split("\n").filter(Boolean),
    find: async (registry, options = {}) => {
      const { repository, login, isOwner = false, ...rest } = options;
      const credentials = new Credentials({ env: home.env(), ...rest });
      return await credentials.finder(registry, { login, isOwner })(repository);
    },
    [Symbol.asyncDispose]: async () => await dir[Symbol.asyncDispose](),
  };
  return home;
}
