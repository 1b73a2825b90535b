/** Registry hosts: where a name leads to, and which of them may be spoken to in plain HTTP. */
import { BlockList, isIP } from "node:net";

/** Docker Hub's registry answers under another name than the one in references. */
const connectNames: Readonly<Record<string, string>> = { "docker.io": "registry-1.docker.io" };

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

const privateRanges = new BlockList();
privateRanges.addSubnet("10.0.0.0", 8, "ipv4");
privateRanges.addSubnet("172.16.0.0", 12, "ipv4");
privateRanges.addSubnet("192.168.0.0", 16, "ipv4");
privateRanges.addSubnet("fc00::", 7, "ipv6");

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");

/** "This host": systems connect to themselves there. */
const unspecified = new BlockList();
unspecified.addSubnet("0.0.0.0", 8, "ipv4");
unspecified.addAddress("::", "ipv6");

/** The host and port to connect to for a registry name: `docker.io` is `registry-1.docker.io`. */
export function connectHost(registry: string): string {
  return connectNames[registry] ?? registry;
}

/** The name or address of `host[:port]`, without brackets and port. */
export function hostName(host: string): string {
  const bracketed = /^\[([^\]]*)\]/.exec(host)?.[1];
  return bracketed ?? host.replace(/:[0-9]*$/, "");
}

/** True for `localhost`, `*.localhost`, 127.0.0.0/8 and ::1. */
export function isLoopbackHost(host: string): boolean {
  const name = hostName(host).toLowerCase().replace(/\.$/, "");
  return name === "localhost" || name.endsWith(".localhost") || contains(loopback, name);
}

/** True for an IP literal in a private range (RFC 1918, RFC 4193). */
export function isPrivateAddress(host: string): boolean {
  return contains(privateRanges, hostName(host));
}

/** True for an IP literal that only exists on this machine or link: what a remote answer must never lead us to. */
export function isLocalAddress(host: string): boolean {
  const name = hostName(host);
  return isLoopbackHost(host) || [privateRanges, linkLocal, unspecified].some((list) => contains(list, name));
}

function contains(list: BlockList, name: string): boolean {
  const family = isIP(name);
  return family !== 0 && list.check(name, family === 6 ? "ipv6" : "ipv4");
}
