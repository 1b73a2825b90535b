/**
 * Which proxy a request goes through: the variables of curl and the rules of Go's httpproxy, so that what works for
 * docker, skopeo and the other tools of the field works here.
 */
import { BlockList, isIP } from "node:net";
import { AppError } from "../../errors.ts";
import { isLoopbackHost } from "../host.ts";

/** An HTTP proxy. */
export interface HttpProxy {
  /** Name or address, without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** True if the proxy itself is spoken to over TLS. */
  readonly secure: boolean;
  /** The value of Proxy-Authorization. A secret. */
  readonly authorization?: string | undefined;
  /** `host:port`, for messages. */
  readonly host: string;
  /** The variable that names it. */
  readonly variable: string;
}

/** The proxy for a URL; undefined: it is reached directly. */
export type ProxyFor = (url: URL) => HttpProxy | undefined;

type Environment = Readonly<Record<string, string | undefined>>;
/** Says of a host name (lower case, no brackets) and a port whether they are reached directly. */
type Exception = (name: string, port: string) => boolean;

/**
 * Reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case. Throws USAGE for a proxy that
 * cannot be used; its password is not told.
 */
export function proxiesOf(env: Environment): ProxyFor {
  const all = readProxy(env, "ALL_PROXY", "all_proxy");
  const secure = readProxy(env, "HTTPS_PROXY", "https_proxy") ?? all;
  const plain = readProxy(env, "HTTP_PROXY", "http_proxy") ?? all;
  const proxies = { "https:": secure?.(), "http:": plain?.() };
  const exceptions = (find(env, "NO_PROXY", "no_proxy")?.value ?? "").split(/[\s,]+/).flatMap(exception);
  return (url) => {
    if (url.protocol !== "https:" && url.protocol !== "http:") return undefined;
    const proxy = proxies[url.protocol];
    if (proxy === undefined || isLoopbackHost(url.host)) return undefined;
    const name = bare(url.hostname).toLowerCase().replace(/\.$/, "");
    const port = url.port || (url.protocol === "https:" ? "443" : "80");
    return exceptions.some((isException) => isException(name, port)) ? undefined : proxy;
  };
}

function find(env: Environment, ...names: readonly string[]): { name: string; value: string } | undefined {
  for (const name of names) {
    const value = env[name]?.trim();
    if (value) return { name, value };
  }
  return undefined;
}

/** How to read the proxy of a variable: one that another variable overrides need not be good. */
function readProxy(env: Environment, ...names: readonly string[]): (() => HttpProxy) | undefined {
  const found = find(env, ...names);
  return found === undefined ? undefined : () => parseProxy(found.value, found.name);
}

function parseProxy(text: string, variable: string): HttpProxy {
  const form = "write it like http://proxy.example:3128, or http://USER:PASSWORD@proxy.example:3128";
  const fail = (state: string, hint = form): never => {
    throw new AppError("USAGE", `Cannot use the proxy of ${variable}: ${state}`, { hint });
  };
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const scheme = full.slice(0, full.indexOf(":")).toLowerCase();
  if (scheme !== "http" && scheme !== "https")
    fail(`${scheme}:// is not supported, only http:// and https://`);
  if (!URL.canParse(full)) fail("it is no URL");
  const url = new URL(full);
  // A slash in a password ends the host for every reader of URLs, and what is told would be a part of it.
  if (/@/.test(`${url.pathname}${url.search}${url.hash}`))
    fail("its password is not written as in a URL", "write / as %2F, ? as %3F and # as %23 in it");
  const secure = scheme === "https";
  const port = Number(url.port || (secure ? 443 : 80));
  const given = url.username !== "" || url.password !== "";
  const login = given ? `${decoded(url.username)}:${decoded(url.password)}` : "";
  return {
    hostname: bare(url.hostname),
    port,
    secure,
    authorization: given ? `Basic ${Buffer.from(login, "utf8").toString("base64")}` : undefined,
    host: `${url.hostname}:${port}`,
    variable,
  };
}

/** One entry of NO_PROXY: `*`, an address or a range of them, a domain; with or without a port. */
function exception(entry: string): Exception[] {
  const text = entry.toLowerCase();
  if (text === "") return [];
  if (text === "*") return [() => true];
  const [net = "", prefix] = text.split("/");
  if (prefix !== undefined) return range(net, prefix);
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
  // An IPv6 address without brackets has no port.
  const name = bracketed ?? plain ?? text;
  const fits = (other: string): boolean => port === undefined || port === other;
  if (name === "") return [];
  if (isIP(name) !== 0) {
    const same = new BlockList();
    same.addAddress(name, isIP(name) === 6 ? "ipv6" : "ipv4");
    return [(host, other) => holds(same, host) && fits(other)];
  }
  const domain = name.replace(/^\*/, "");
  const suffix = domain.startsWith(".") ? domain : `.${domain}`;
  // `example.com` is the domain and all below it, `.example.com` and `*.example.com` only what is below.
  return [(host, other) => (host.endsWith(suffix) || (domain !== suffix && host === domain)) && fits(other)];
}

function range(net: string, prefix: string): Exception[] {
  const family = isIP(net);
  const bits = Number(prefix);
  if (family === 0 || !/^\d+$/.test(prefix) || bits > (family === 6 ? 128 : 32)) return [];
  const list = new BlockList();
  list.addSubnet(net, bits, family === 6 ? "ipv6" : "ipv4");
  return [(host) => holds(list, host)];
}

function holds(list: BlockList, host: string): boolean {
  const family = isIP(host);
  return family !== 0 && list.check(host, family === 6 ? "ipv6" : "ipv4");
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
