/** Where `mirror login` keeps a credential, and `mirror logout` takes it away: a helper, or a file. */
import { encodeAuth } from "./auth-entry.ts";
import { type AuthFile, helperFor, readAuthFile } from "./auth-file.ts";
import { changeConfig, section } from "./config-file.ts";
import { eraseFromHelper, type Helper, type HelperOptions, programOf, storeWithHelper } from "./helper.ts";
import { meansRegistry, storeKey } from "./keys.ts";
import { dockerConfigPath, namedAuthFile } from "./places.ts";

export interface StoreOptions extends HelperOptions {
  /** `--authfile`; `REGISTRY_AUTH_FILE`, then Docker's config.json, if left out. */
  readonly authfile?: string | undefined;
}

/** Where a credential is kept. */
export interface Stored {
  /** The file that holds it, or that names the helper. */
  readonly file: string;
  /** The helper that keeps it, by its program's name. Without one it stands in the file, not encrypted. */
  readonly helper?: string;
}

/**
 * Keeps a user name and password where a later run finds them: in the helper that the file names for the registry,
 * otherwise in the file itself. Throws AUTH if the helper does not work or the file is something else, DISK if it
 * cannot be written.
 */
export async function storeCredential(
  registry: string,
  login: { readonly username: string; readonly password: string },
  options: StoreOptions,
): Promise<Stored> {
  const { path, helper } = await storeOf(registry, options);
  if (helper !== undefined) await storeWithHelper(helper, registry, login, options);
  // With a helper, Docker leaves an empty entry in the file; so no older password stays there either.
  const entry = helper === undefined ? { auth: encodeAuth(login.username, login.password) } : {};
  await changeConfig(path, (config) => {
    const auths = section(config, "auths", path);
    const key = storeKey(registry);
    for (const other of keysOf(auths, registry)) if (other !== key) delete auths[other];
    const had = auths[key];
    auths[key] = entry;
    return helper === undefined || JSON.stringify(had) !== JSON.stringify(entry);
  });
  return { file: path, ...(helper === undefined ? {} : { helper: programOf(helper) }) };
}

/**
 * Takes a registry's credentials away, from the helper and from the file, under every spelling of its key. Gives the
 * places that had some; none is no failure. Throws as {@link storeCredential} does.
 */
export async function eraseCredential(registry: string, options: StoreOptions): Promise<readonly Stored[]> {
  const { path, helper, exists } = await storeOf(registry, options);
  const erased: Stored[] = [];
  if (helper !== undefined && (await eraseFromHelper(helper, registry, options)))
    erased.push({ file: path, helper: programOf(helper) });
  if (!exists) return erased;
  await changeConfig(path, (config) => {
    if (config["auths"] === undefined) return false;
    const auths = section(config, "auths", path);
    const keys = keysOf(auths, registry);
    const full = keys.some((key) => JSON.stringify(auths[key] ?? {}) !== "{}");
    for (const key of keys) delete auths[key];
    if (full) erased.push({ file: path });
    return keys.length > 0;
  });
  return erased;
}

function keysOf(auths: Readonly<Record<string, unknown>>, registry: string): readonly string[] {
  return Object.keys(auths).filter((key) => meansRegistry(key, registry));
}

async function storeOf(
  registry: string,
  options: StoreOptions,
): Promise<{ readonly path: string; readonly helper: Helper | undefined; readonly exists: boolean }> {
  const { env, authfile } = options;
  const path = namedAuthFile(env, authfile)?.path ?? dockerConfigPath(env);
  const files: readonly AuthFile[] | undefined = await readAuthFile(path, "any");
  const name = files?.map((file) => helperFor(file, registry)).find((found) => found !== undefined);
  return {
    path,
    helper: name === undefined ? undefined : { name, namedBy: path },
    exists: files !== undefined,
  };
}
