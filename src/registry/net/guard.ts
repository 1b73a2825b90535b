/**
 * Where the answers of a registry may lead us (protocol notes 1.8, "SSRF"): a registry out there must not make us talk
 * to this machine or its network, a registry in a private network may name its neighbours. It judges what a
 * host's name tells; {@link AddressGuard.lookup} judges the addresses that it stands for, when a connection is made.
 */
import { type LookupAddress, type LookupOptions, lookup as systemLookup } from "node:dns";
import { type AddressKind, addressKind, hostName } from "../host.ts";
import { coded } from "./wire-format.ts";

type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/** Kinds of addresses that a registry at an address of this kind may lead to. */
const reachable: Readonly<Record<AddressKind, readonly AddressKind[]>> = {
  public: ["public"],
  private: ["public", "private"],
  loopback: ["public", "private", "loopback"],
  // Nobody's registry lives there; clouds keep their keys at 169.254.169.254.
  linkLocal: ["public", "linkLocal"],
};

/** Looks a name up, as `dns.lookup` does. */
type Lookup = (hostname: string, options: LookupOptions, callback: LookupCallback) => void;

/** The guard of one registry. */
export class AddressGuard {
  readonly #host: string;
  readonly #lookup: Lookup;
  #kind: AddressKind;

  /** `host`: the registry's own `host[:port]`, as it is connected to; `lookup`: the system's if left out. */
  constructor(host: string, lookup: Lookup = systemLookup) {
    this.#lookup = lookup;
    this.#host = hostName(host).toLowerCase();
    this.#kind = addressKind(this.#host) ?? "public";
  }

  /** Learns at which address the registry itself was reached. A name is judged by it from then on. */
  learn(address: string): void {
    this.#kind = addressKind(address) ?? this.#kind;
  }

  /** True for the registry's own host. */
  isOwn(host: string): boolean {
    return hostName(host).toLowerCase() === this.#host;
  }

  /** True if an answer may lead to this `host[:port]`, as far as its name tells. */
  allows(host: string): boolean {
    const kind = addressKind(hostName(host));
    return this.isOwn(host) || kind === undefined || reachable[this.#kind].includes(kind);
  }

  /** `dns.lookup` for the connections of this registry's client; fails for names that stand for refused addresses. */
  readonly lookup = (hostname: string, options: LookupOptions, callback: LookupCallback): void => {
    this.#lookup(hostname, options, (error, address, family) => {
      if (error !== null || this.isOwn(hostname)) return callback(error, address, family);
      const all = typeof address === "string" ? [address] : address.map((entry) => entry.address);
      const refused = all.find((one) => !reachable[this.#kind].includes(addressKind(one) ?? "public"));
      if (refused === undefined) return callback(null, address, family);
      callback(
        coded("MIRROR_REFUSED_ADDRESS", `${hostname} stands for the local address ${refused}`),
        address,
      );
    });
  };
}
