/** Docker's `daemon.json`: the registries that its administrator lets be insecure. */
import { readFile } from "node:fs/promises";
import { BlockList, isIP } from "node:net";
import { z } from "zod";
import { hostName } from "./host.ts";

const Daemon = z.object({ "insecure-registries": z.array(z.string()).optional() });
const defaultPath = "/etc/docker/daemon.json";

/**
 * True if `insecure-registries` names this host, by name or by a CIDR that holds its address. A file that is
 * missing or unreadable lists nothing: it is Docker's, and not for us to complain about.
 */
export async function isListedInsecure(host: string, path: string = defaultPath): Promise<boolean> {
  const entries = await readFile(path, "utf8").then(
    (text) => parse(text),
    () => [],
  );
  return entries.some((entry) => entry === host || holds(entry, hostName(host)));
}

function parse(text: string): readonly string[] {
  try {
    return Daemon.parse(JSON.parse(text))["insecure-registries"] ?? [];
  } catch {
    return [];
  }
}

function holds(cidr: string, address: string): boolean {
  const [net, prefix] = cidr.split("/");
  if (net === undefined || prefix === undefined || !/^\d+$/.test(prefix)) return false;
  const family = isIP(net) === 6 ? "ipv6" : "ipv4";
  if (isIP(net) === 0 || isIP(address) !== isIP(net) || Number(prefix) > (family === "ipv6" ? 128 : 32))
    return false;
  const list = new BlockList();
  list.addSubnet(net, Number(prefix), family);
  return list.check(address, family);
}
