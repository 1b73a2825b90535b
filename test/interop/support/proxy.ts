/** Starts Debian's tinyproxy: a forward proxy for plain requests and for CONNECT, for one test. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { insideNamespace } from "./namespace.ts";
import { endWithThisProcess, stop } from "./process.ts";

/** Options of {@link startProxy}. */
export interface ProxyOptions {
  /** The program: {@link ProxyTools.tinyproxy}. */
  readonly program: string;
  /** Namespace to run in, and an address of it with a port: `10.141.241.178:3128`. */
  readonly netns: string;
  readonly host: string;
  /** Its own connections come from this address, which tells them from direct ones in a registry's log. */
  readonly from: string;
  /** It then asks for Basic. */
  readonly user?: { readonly username: string; readonly password: string };
}

/** A running proxy. */
export interface ForwardProxy extends AsyncDisposable {
  /** What its clients asked for so far, as they wrote it: `CONNECT host:443`, `GET http://host/v2/`. */
  readonly requests: readonly string[];
  readonly close: () => Promise<void>;
}

const startTimeoutMs = 20_000;

/** Starts the proxy and waits until it listens. Throws with its log when it does not start. */
export async function startProxy(options: ProxyOptions): Promise<ForwardProxy> {
  const folder = await mkdtemp(join(tmpdir(), "oci-mirror-proxy-"));
  const colon = options.host.lastIndexOf(":");
  const config = join(folder, "tinyproxy.conf");
  const lines = [
    `Listen ${options.host.slice(0, colon)}`,
    `Port ${options.host.slice(colon + 1)}`,
    `Bind ${options.from}`,
    "LogLevel Info",
    "Timeout 60",
    "MaxClients 100",
    ...(options.user === undefined ? [] : [`BasicAuth ${options.user.username} ${options.user.password}`]),
    "",
  ];
  await writeFile(config, lines.join("\n"));
  // -d: it stays in the foreground, and its log goes to its output.
  const child = spawn(...insideNamespace(options.netns, options.program, ["-d", "-c", config]), {
    stdio: ["ignore", "pipe", "pipe"],
  });
  endWithThisProcess(child);
  const close = async (): Promise<void> => {
    await stop(child);
    await rm(folder, { recursive: true, force: true });
  };
  const requests: string[] = [];
  const log: string[] = [];
  try {
    await new Promise<void>((settle, fail) => {
      const give = (reason: string): void =>
        fail(new Error(`tinyproxy does not start: ${reason}\n${log.join("\n")}`));
      const timer = setTimeout(() => give(`not ready after ${startTimeoutMs / 1000} s`), startTimeoutMs);
      child.once("error", (error) => give(error.message));
      child.once("close", (code) => {
        clearTimeout(timer);
        give(`exit code ${code}`);
      });
      const take = (line: string): void => {
        if (log.length < 50) log.push(line);
        const request = /Request \(file descriptor \d+\): (\S+ \S+) HTTP/.exec(line)?.[1];
        if (request !== undefined) requests.push(request);
        if (!line.includes("Accepting connections")) return;
        clearTimeout(timer);
        settle();
      };
      createInterface({ input: child.stdout }).on("line", take);
      createInterface({ input: child.stderr }).on("line", take);
    });
  } catch (error) {
    await close();
    throw error;
  }
  return { requests, close, [Symbol.asyncDispose]: close };
}
