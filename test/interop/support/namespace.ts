/**
 * A network namespace that owns addresses which this machine does not have: there, 10.141.241.175:32000 is a real
 * registry. Needs root and iproute2.
 */
import { type Outcome, type RunOptions, run } from "./process.ts";

/** A namespace with its addresses up. */
export interface NetworkNamespace extends AsyncDisposable {
  readonly name: string;
  /** Runs a command inside it, to its end. */
  readonly exec: (command: string, args: readonly string[], options?: RunOptions) => Promise<Outcome>;
  /** Removes it. Processes inside keep it alive until they end. */
  readonly close: () => Promise<void>;
}

let made = 0;

/** `ip`, or the reason why not. */
async function ip(args: readonly string[]): Promise<void> {
  const outcome = await run("ip", args);
  if (outcome.code !== 0) throw new Error(`ip ${args.join(" ")}: ${outcome.stderr.trim()}`);
}

/** The command line that runs `command` inside a namespace. `ip` replaces itself, so the process is the command's own. */
export function insideNamespace(
  name: string,
  command: string,
  args: readonly string[],
): readonly [command: string, args: readonly string[]] {
  return ["ip", ["netns", "exec", name, command, ...args]];
}

/** Makes a namespace whose loopback device has 127.0.0.1 and `addresses` (IPv4 or IPv6, without a prefix length). */
export async function makeNamespace(addresses: readonly string[]): Promise<NetworkNamespace> {
  made += 1;
  const name = `oci-mirror-${process.pid}-${made}`;
  const close = async (): Promise<void> => {
    await run("ip", ["netns", "delete", name]);
  };
  await ip(["netns", "add", name]);
  try {
    await ip(["-n", name, "link", "set", "lo", "up"]);
    for (const address of addresses) {
      const length = address.includes(":") ? 128 : 32;
      await ip(["-n", name, "addr", "add", `${address}/${length}`, "dev", "lo"]);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    name,
    exec: (command, args, options) => run(...insideNamespace(name, command, args), options),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** True where namespaces can be made and entered: tried, not guessed. */
export async function canMakeNamespaces(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  try {
    await using namespace = await makeNamespace([]);
    return (await namespace.exec("true", [])).code === 0;
  } catch {
    return false;
  }
}
