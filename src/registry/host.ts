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
// Where clouds keep their keys beside 169.254.169.254: Amazon over IPv6, and Alibaba.
linkLocal.addAddress("fd00:ec2::254", "ipv6");
linkLocal.addAddress("100.100.100.200", "ipv4");

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
  return isLoopbackName(hostName(host));
}

function isLoopbackName(name: string): boolean {
  const lower = name.toLowerCase().replace(/\.$/, "");
  return lower === "localhost" || lower.endsWith(".localhost") || contains(loopback, lower);
}

/** True for an IP literal in a private range (RFC 1918, RFC 4193). */
export function isPrivateAddress(host: string): boolean {
  return contains(privateRanges, hostName(host));
}

/** What an address is to us. */
export type AddressKind = "loopback" | "private" | "linkLocal" | "public";

/**
 * The kind of an IP literal or of a loopback name; undefined for any other name. "This host" (0.0.0.0/8, ::) is
 * loopback: systems connect to themselves there.
 */
export function addressKind(name: string): AddressKind | undefined {
  if (isLoopbackName(name) || contains(unspecified, name)) return "loopback";
  if (contains(linkLocal, name)) return "linkLocal";
  if (contains(privateRanges, name)) return "private";
  return isIP(name) === 0 ? undefined : "public";
}

function contains(list: BlockList, name: string): boolean {
  const family = isIP(name);
  return family !== 0 && list.check(name, family === 6 ? "ipv6" : "ipv4");
}
