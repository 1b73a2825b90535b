/** Starts Debian's nginx as a reverse proxy in front of a registry, for one test. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants, openSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { AccessLog } from "./access-log.ts";
import { freePort, get, listening } from "./network.ts";
import { endWithThisProcess, run, stop } from "./process.ts";

/** Options of {@link startNginx}. */
export interface NginxOptions {
  /** The program: {@link ProxyTools.nginx}. */
  readonly program: string;
  /** The registry behind: `http://127.0.0.1:34567`. */
  readonly upstream: string;
  /** Paths of PEM files; left out, it speaks plain HTTP. */
  readonly tls?: { readonly certificateFile: string; readonly keyFile: string } | undefined;
  /** `client_max_body_size`; left out, there is no limit. nginx's own default is `1m`. */
  readonly maxBody?: string;
  /** Whether X-Forwarded-Proto tells the registry how it was asked for; default true. */
  readonly passScheme?: boolean;
  /** Whether Host tells the registry what it was asked for as; default true. nginx's own default is not to. */
  readonly passHost?: boolean;
  /** `proxy_redirect`: whether a Location that names the upstream is rewritten; default true, as nginx's own. */
  readonly rewriteLocations?: boolean;
  /** `proxy_request_buffering`: default true, as nginx's own. */
  readonly requestBuffering?: boolean;
  /** Content of a password file: nginx then asks for Basic. */
  readonly htpasswd?: string;
  /** `limit_req`: the rest is answered with this status at once. */
  readonly limit?: { readonly perSecond: number; readonly burst: number; readonly status: 429 | 503 };
}

/** A running nginx. */
export interface Nginx extends AsyncDisposable {
  /** `127.0.0.1:34567` */
  readonly host: string;
  /** `https://127.0.0.1:34567` */
  readonly url: string;
  /** What its clients asked for, those requests included that never got to the registry. */
  readonly accessLog: AccessLog;
  readonly close: () => Promise<void>;
}

/** One process that needs no root; all that it writes is in its folder. */
function configuration(options: NginxOptions, port: number): string {
  const { upstream, tls, maxBody = "0", passScheme = true, passHost = true, htpasswd, limit } = options;
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const rate = `limit_req_zone $binary_remote_addr zone=all:32k rate=${limit?.perSecond ?? 1}r/s;`;
  const lines: readonly (string | false)[] = [
    "daemon off;",
    "master_process off;",
    "pid nginx.pid;",
    "error_log stderr warn;",
    "events { worker_connections 512; }",
    "http {",
    ...folders.map((name) => `  ${name}_temp_path ${name};`),
    `  log_format tests '$remote_addr - - [$time_local] "$request" $status $body_bytes_sent "-" "$http_user_agent" at=$msec';`,
    "  access_log access.fifo tests;",
    "  server_tokens off;",
    limit !== undefined && `  ${rate}`,
    "  server {",
    `    listen 127.0.0.1:${port}${tls === undefined ? "" : " ssl"};`,
    tls !== undefined && `    ssl_certificate ${tls.certificateFile};`,
    tls !== undefined && `    ssl_certificate_key ${tls.keyFile};`,
    `    client_max_body_size ${maxBody};`,
    limit !== undefined && `    limit_req zone=all burst=${limit.burst} nodelay;`,
    limit !== undefined && `    limit_req_status ${limit.status};`,
    "    location /v2/ {",
    htpasswd !== undefined && '      auth_basic "behind nginx";',
    htpasswd !== undefined && "      auth_basic_user_file htpasswd;",
    // The registry would otherwise judge a header that was meant for nginx.
    htpasswd !== undefined && '      proxy_set_header Authorization "";',
    passHost && "      proxy_set_header Host $http_host;",
    passScheme && "      proxy_set_header X-Forwarded-Proto $scheme;",
    `      proxy_request_buffering ${options.requestBuffering === false ? "off" : "on"};`,
    options.rewriteLocations === false && "      proxy_redirect off;",
    "      proxy_read_timeout 60;",
    `      proxy_pass ${upstream};`,
    "    }",
    "  }",
    "}",
    "",
  ];
  return lines.filter((line) => line !== false).join("\n");
}

/** The lines that nginx writes to `path`. A pipe with a name: nginx opens its log by name, and a file would be polled. */
async function namedPipe(path: string): Promise<Socket> {
  const outcome = await run("mkfifo", [path]);
  if (outcome.code !== 0) throw new Error(`mkfifo ${path}: ${outcome.stderr.trim()}`);
  // Open for writing as well, so that it neither waits for nginx nor ends with it.
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

/** Rejects once the process has ended. */
function ended(child: ChildProcess, log: readonly string[]): Promise<never> {
  return new Promise((_settle, fail) => {
    child.once("error", fail);
    child.once("close", (code) => fail(new Error(`nginx ended with ${code}:\n${log.join("\n")}`)));
  });
}

/** Starts nginx on a free port of 127.0.0.1 and waits until it answers. Throws with its log when it does not start. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), "oci-mirror-nginx-"));
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const url = `${options.tls === undefined ? "http" : "https"}://${host}`;
  await writeFile(join(folder, "nginx.conf"), configuration(options, port));
  await writeFile(join(folder, "htpasswd"), options.htpasswd ?? "");
  const pipe = await namedPipe(join(folder, "access.fifo"));
  const args = ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", "stderr"];
  const child = spawn(options.program, args, { stdio: ["ignore", "ignore", "pipe"] });
  endWithThisProcess(child);
  const close = async (): Promise<void> => {
    await stop(child);
    pipe.destroy();
    await rm(folder, { recursive: true, force: true });
  };
  const log: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => void (log.length < 50 && log.push(line)));
  try {
    const accessLog = new AccessLog((query) => get(`${url}/v2/?${query}`, undefined));
    createInterface({ input: pipe }).on("line", (line) => accessLog.add(line));
    const failed = ended(child, log);
    failed.catch(() => undefined);
    await Promise.race([failed, listening(`${url}/v2/?harness-probe=start`)]);
    return { host, url, accessLog, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
