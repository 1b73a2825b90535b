/**
 * The real programs that the interop tests talk to: Debian's docker-registry and skopeo, nginx and tinyproxy. Taken
 * from PATH; where they are not installed, fetched from Debian into .cache/interop (no root, nothing installed).
 */
import { constants } from "node:fs";
import { access, chmod, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.ts";
import { type Outcome, run } from "./process.ts";

/** Absolute paths of programs that can be started. */
export interface InteropTools {
  readonly dockerRegistry: string;
  readonly skopeo: string;
}

/** What stands between a registry and its clients. */
export interface ProxyTools {
  readonly nginx: string;
  readonly tinyproxy: string;
}

/** Where each program is: Debian's package, and the folder in it. */
const programs = {
  "docker-registry": { package: "docker-registry", folder: "usr/bin" },
  skopeo: { package: "skopeo", folder: "usr/bin" },
  nginx: { package: "nginx", folder: "usr/sbin" },
  tinyproxy: { package: "tinyproxy-bin", folder: "usr/bin" },
} as const;
type Program = keyof typeof programs;

const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const defaultCache = join(projectRoot, ".cache", "interop");

/** A program's path on PATH, or undefined. */
export async function onPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    if (folder === "") continue;
    const path = join(folder, program);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** apt with lists of its own, for a user who may not run `apt-get update`, or a machine where nobody has. */
function ownLists(cache: string): readonly string[] {
  const options = [
    `Dir::State::Lists=${join(cache, "apt", "lists")}`,
    `Dir::Cache=${join(cache, "apt", "cache")}`,
    "APT::Sandbox::User=",
  ];
  return options.flatMap((option) => ["-o", option]);
}

/** Downloads packages of this machine's own release into `folder`; brings up to date lists of its own if need be. */
async function download(cache: string, folder: string, packages: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const get = (options: readonly string[]): Promise<Outcome> =>
    run("apt-get", [...options, "-qq", "download", ...packages], { cwd: folder });
  if ((await get([])).code === 0) return;
  for (const part of ["lists/partial", "cache/archives/partial"]) {
    await mkdir(join(cache, "apt", part), { recursive: true });
  }
  const update = await run("apt-get", [...ownLists(cache), "-qq", "update"]);
  const second = await get(ownLists(cache));
  if (second.code !== 0) {
    throw new Error(`apt-get download ${packages.join(" ")}: ${(second.stderr || update.stderr).trim()}`);
  }
}

/** Library packages that a package depends on directly. */
async function libraryDependencies(cache: string, name: string): Promise<readonly string[]> {
  const args = ["depends", "--important", name];
  const plain = await run("apt-cache", args);
  const { stdout } = plain.code === 0 ? plain : await run("apt-cache", [...ownLists(cache), ...args]);
  return [...stdout.matchAll(/^\s+Depends: (lib\S+)$/gm)].flatMap((match) => match[1] ?? []);
}

/** Folders of `root` that hold shared libraries. */
async function libraryFolders(root: string): Promise<readonly string[]> {
  const files = await readdir(root, { recursive: true, withFileTypes: true });
  return [...new Set(files.filter(({ name }) => /\.so(\.|$)/.test(name)).map((file) => file.parentPath))];
}

/** Unpacks every package of `folder` into `root`. */
async function unpack(folder: string, root: string): Promise<void> {
  for (const name of (await readdir(folder)).filter((file) => file.endsWith(".deb"))) {
    const outcome = await run("dpkg", ["-x", join(folder, name), root]);
    if (outcome.code !== 0) throw new Error(`dpkg -x ${name}: ${outcome.stderr.trim()}`);
  }
}

/** Shared libraries that the loader does not find. */
async function missingLibraries(binary: string, root: string): Promise<readonly string[]> {
  const env = { LD_LIBRARY_PATH: (await libraryFolders(root)).join(":") };
  const { stdout } = await run("ldd", [binary], { env });
  return [...stdout.matchAll(/^\s*(\S+) => not found$/gm)].flatMap((match) => match[1] ?? []);
}

/**
 * Fetches one program: its package, and for as long as the loader misses something, the libraries that the packages
 * so far depend on. Leaves a start script at `cache`/bin/NAME, put there by rename as the last step.
 */
async function fetchProgram(cache: string, program: Program): Promise<string> {
  const staging = join(cache, `${program}.${process.pid}`);
  const [debs, unpacked] = [join(staging, "deb"), join(staging, "root")];
  const root = join(cache, `${program}-${process.pid}`);
  try {
    let wave: readonly string[] = [programs[program].package];
    const seen = new Set(wave);
    const binaryOf = (base: string): string => join(base, programs[program].folder, program);
    for (;;) {
      await download(cache, debs, wave);
      await unpack(debs, unpacked);
      const missing = await missingLibraries(binaryOf(unpacked), unpacked);
      if (missing.length === 0) break;
      const next = (await Promise.all(wave.map((name) => libraryDependencies(cache, name)))).flat();
      wave = [...new Set(next)].filter((name) => !seen.has(name) && name !== "libc6");
      if (wave.length === 0) throw new Error(`no package has ${missing.join(", ")} for ${program}`);
      for (const name of wave) seen.add(name);
    }
    await rm(root, { recursive: true, force: true });
    await rename(unpacked, root);
    const script = join(staging, program);
    const libraries = (await libraryFolders(root)).join(":");
    await writeFile(script, `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${binaryOf(root)}' "$@"\n`);
    await chmod(script, 0o755);
    await mkdir(join(cache, "bin"), { recursive: true });
    const path = join(cache, "bin", program);
    await rename(script, path);
    return path;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/**
 * Fetches what is missing in `cache`, one process at a time however many ask. A failure is kept for a minute, so
 * that a machine without network does not try once for every test file.
 */
async function fetchInto(cache: string, program: Program): Promise<string> {
  const path = join(cache, "bin", program);
  if (await isExecutable(path)) return path;
  await mkdir(cache, { recursive: true });
  return withLock(join(cache, "lock"), async () => {
    if (await isExecutable(path)) return path;
    const failure = join(cache, `${program}.failed`);
    const past = await readFile(failure, "utf8").catch(() => undefined);
    const [time = "0", ...reason] = past?.split("\n") ?? [];
    if (Date.now() - Number(time) < 60_000) throw new Error(reason.join("\n"));
    try {
      return await fetchProgram(cache, program);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      await writeFile(failure, `${Date.now()}\n${message}`);
      throw error;
    }
  });
}

/** Where programs come from. */
export interface ToolOptions {
  /** Where fetched programs are kept, by default .cache/interop in the project. */
  readonly cache?: string;
  /** Fetch in any case. */
  readonly ignorePath?: boolean;
}

/**
 * Runs `work`, which finds programs. Undefined (after one loud line on stderr) where they can be neither found nor
 * fetched. With CI set in the environment that is an error: there, a skipped interop test would look like a passed one.
 */
async function found<T>(
  names: readonly Program[],
  options: ToolOptions,
  work: (find: (program: Program) => Promise<string>) => Promise<T>,
): Promise<T | undefined> {
  const cache = options.cache ?? defaultCache;
  const find = async (program: Program): Promise<string> =>
    (options.ignorePath === true ? undefined : await installed(program)) ?? (await fetchInto(cache, program));
  try {
    return await work(find);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `INTEROP TESTS CANNOT RUN: ${names.join(" and ")} are neither on PATH nor to be had from Debian: ${reason}`;
    if ((process.env["CI"] ?? "") !== "") throw new Error(message, { cause: error });
    console.error(message);
    return undefined;
  }
}

/** A program of this machine. The PATH of a user often lacks the folder of servers. */
async function installed(program: Program): Promise<string | undefined> {
  const usual = join("/", programs[program].folder, program);
  return (await onPath(program)) ?? ((await isExecutable(usual)) ? usual : undefined);
}

/** docker-registry and skopeo; undefined where they cannot be had, an error where CI is set. */
export async function interopTools(options: ToolOptions = {}): Promise<InteropTools | undefined> {
  return await found(["docker-registry", "skopeo"], options, async (find) => ({
    dockerRegistry: await find("docker-registry"),
    skopeo: await find("skopeo"),
  }));
}

/** nginx and tinyproxy; undefined where they cannot be had, an error where CI is set. */
export async function proxyTools(options: ToolOptions = {}): Promise<ProxyTools | undefined> {
  return await found(["nginx", "tinyproxy"], options, async (find) => ({
    nginx: await find("nginx"),
    tinyproxy: await find("tinyproxy"),
  }));
}
