/** Starts the real docker-registry (CNCF distribution) for one test. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { AccessLog } from "./access-log.ts";
import type { Certificate } from "./certificates.ts";
import { insideNamespace } from "./namespace.ts";
import { freePort, get, listening } from "./network.ts";
import { endWithThisProcess, stop } from "./process.ts";

/** Options of {@link startDockerRegistry}. */
export interface DockerRegistryOptions {
  /** The program: {@link InteropTools.dockerRegistry}. */
  readonly program: string;
  /** Where content is kept; left out, a temporary folder that `close` removes. */
  readonly dir?: string;
  /** Content of a password file (bcrypt lines): the registry then asks for Basic. */
  readonly htpasswd?: string;
  readonly tls?: Certificate;
  /** The registry then asks for Bearer tokens. `rootCert`: path of the PEM file whose key signs them. */
  readonly token?: {
    readonly realm: string;
    readonly service: string;
    readonly issuer: string;
    readonly rootCert: string;
  };
  /** Address to listen on, default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: a free one. */
  readonly port?: number;
  /** Name of the network namespace to run in. */
  readonly netns?: string;
  /** Blob reads are redirected to this origin (2.8 drops a path) with the path below `dir` behind it, as to a cloud storage. */
  readonly redirect?: { readonly baseUrl: string };
  /** Allows DELETE; default false, as the registry's own. */
  readonly deleteEnabled?: boolean;
  /** Refuses every write, as during garbage collection; default false. */
  readonly readOnly?: boolean;
  /**
   * As `registry:2` without configuration (MicroK8s has it so): the secret that signs upload states is made at the
   * start, so no upload outlives it. Default: a fixed one.
   */
  readonly randomSecret?: boolean;
  /**
   * For benchmarks: configured as the official image is (descriptor cache in memory), and silent, so that neither
   * the registry nor the reader of its log takes processor time from what is measured. The access log stays empty.
   */
  readonly forMeasuring?: boolean;
  /** The most repositories on one page of the catalog, default 1000 as the registry's own. */
  readonly catalogMaxEntries?: number;
}

/** A running registry. */
export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:34567` */
  readonly host: string;
  /** `http://127.0.0.1:34567` */
  readonly url: string;
  /** The folder of its content. */
  readonly dir: string;
  readonly accessLog: AccessLog;
  /** Process id, which is the registry's own. */
  readonly pid: number;
  /** Ends it, and removes its content if that was temporary. */
  readonly close: () => Promise<void>;
}

const startTimeoutMs = 20_000;

/** The configuration. JSON is YAML. */
function configuration(options: DockerRegistryOptions, dir: string, passwords: string): string {
  const { htpasswd, tls, token, redirect, host = "127.0.0.1", port = 0, forMeasuring = false } = options;
  return JSON.stringify({
    version: 0.1,
    // The level that still tells the port; the access log goes to stdout by itself.
    log: forMeasuring
      ? { level: "error", accesslog: { disabled: true } }
      : { level: "info", formatter: "json", accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: dir, maxthreads: 100 },
      delete: { enabled: options.deleteEnabled ?? false },
      maintenance: { uploadpurging: { enabled: false }, readonly: { enabled: options.readOnly ?? false } },
      // Without the cache every check looks at the files, so a test may change them.
      ...(forMeasuring ? { cache: { blobdescriptor: "inmemory" } } : {}),
    },
    catalog: { maxentries: options.catalogMaxEntries ?? 1000 },
    ...(redirect === undefined
      ? {}
      : { middleware: { storage: [{ name: "redirect", options: { baseurl: redirect.baseUrl } }] } }),
    http: {
      addr: `${host.includes(":") ? `[${host}]` : host}:${port}`,
      ...(options.randomSecret === true ? {} : { secret: "test" }),
      ...(tls === undefined ? {} : { tls: { certificate: tls.certificateFile, key: tls.keyFile } }),
    },
    ...(htpasswd === undefined ? {} : { auth: { htpasswd: { realm: "test registry", path: passwords } } }),
    ...(token === undefined
      ? {}
      : {
          auth: {
            token: {
              realm: token.realm,
              service: token.service,
              issuer: token.issuer,
              rootcertbundle: token.rootCert,
            },
          },
        }),
  });
}

/** Waits for the line that tells the port. Rejects when the process ends first, or after the time limit. */
function listeningPort(
  child: ChildProcess,
  log: readonly string[],
  onLine: (take: (line: string) => void) => void,
) {
  return new Promise<number>((settle, fail) => {
    const give = (reason: string): void => {
      fail(new Error(`docker-registry does not start: ${reason}\n${log.join("\n")}`));
    };
    const timer = setTimeout(() => give(`no port after ${startTimeoutMs / 1000} s`), startTimeoutMs);
    child.once("error", (error) => give(error.message));
    child.once("exit", (code) => {
      clearTimeout(timer);
      give(`exit code ${code}`);
    });
    onLine((line) => {
      const port = /listening on [^"\s]*:(\d+)[",]/.exec(line)?.[1];
      if (port === undefined) return;
      clearTimeout(timer);
      settle(Number(port));
    });
  });
}

/** Starts a registry and waits until it answers. Throws with its log when it does not start. */
export async function startDockerRegistry(wanted: DockerRegistryOptions): Promise<DockerRegistry> {
  // A silent registry does not tell its port.
  const options =
    wanted.forMeasuring === true && wanted.port === undefined
      ? { ...wanted, port: await freePort() }
      : wanted;
  const { netns, tls, host: address = "127.0.0.1" } = options;
  const scratch = await mkdtemp(join(tmpdir(), "oci-mirror-registry-"));
  const dir = options.dir ?? join(scratch, "content");
  const [config, passwords] = [join(scratch, "config.yml"), join(scratch, "htpasswd")];
  await writeFile(config, configuration(options, dir, passwords));
  await writeFile(passwords, options.htpasswd ?? "");

  const plain = [options.program, ["serve", config]] as const;
  const [command, args] = netns === undefined ? plain : insideNamespace(netns, ...plain);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  endWithThisProcess(child);
  const close = async (): Promise<void> => {
    await stop(child);
    await rm(scratch, { recursive: true, force: true });
  };

  const log: string[] = [];
  const errors = createInterface({ input: child.stderr });
  errors.on("line", (line) => {
    log.push(line);
    if (log.length > 50) log.shift();
  });
  try {
    const silent = options.forMeasuring === true ? options.port : undefined;
    const port = silent ?? (await listeningPort(child, log, (take) => errors.on("line", take)));
    const host = `${address.includes(":") ? `[${address}]` : address}:${port}`;
    const url = `${tls === undefined ? "http" : "https"}://${host}`;
    const accessLog = new AccessLog((query) => get(`${url}/v2/?${query}`, netns));
    createInterface({ input: child.stdout }).on("line", (line) => accessLog.add(line));
    // The socket takes connections from here on; the marker proves that it also answers and logs.
    if (silent === undefined) await accessLog.requests();
    else await listening(`${url}/v2/`);
    return { host, url, dir, accessLog, pid: child.pid ?? 0, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
