/** Whom a run trusts, and how it gets out: from flags, the list, the folders of Docker and Podman, and the environment. */
import type { RegistrySettings } from "../list/image-list.ts";
import {
  certificateFolders,
  hostCertificates,
  readAuthorities,
  readClientPair,
} from "../registry/certificates.ts";
import { connectHost } from "../registry/host.ts";
import { type ProxyFor, proxiesOf } from "../registry/net/proxy.ts";
import type { HostCertificates, OtherHost, TrustOptions } from "../registry/net/trust.ts";

export interface TrustFlags {
  readonly "ca-file"?: readonly string[] | undefined;
  readonly "certs-dir"?: readonly string[] | undefined;
  readonly insecure?: readonly string[] | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;
const caHint = "check the path of --ca-file, or of caFile in the list";

/** Reads certificates when they are needed, each file once. */
export class Trust {
  readonly proxyFor: ProxyFor;
  readonly #flags: TrustFlags;
  readonly #settings: ReadonlyMap<string, RegistrySettings>;
  readonly #env: Environment;
  readonly #others = new Map<string, Promise<OtherHost>>();
  #shared: Promise<readonly string[]> | undefined;

  /** Throws USAGE for a proxy in the environment that cannot be used. */
  constructor(flags: TrustFlags, settings: ReadonlyMap<string, RegistrySettings>, env: Environment) {
    this.#flags = flags;
    this.#settings = settings;
    this.#env = env;
    this.proxyFor = proxiesOf(env);
  }

  /** The trust for a registry and for the hosts that it leads to. Throws TLS for what cannot be read. */
  async of(registry: string): Promise<TrustOptions> {
    const files = this.#flags["ca-file"] ?? [];
    this.#shared ??= Promise.all(files.map(async (file) => await readAuthorities(file, caHint)));
    return {
      ca: await this.#shared,
      insecure: this.#isInsecure(registry),
      own: await this.#certificates(registry),
      others: (host) => this.#other(host),
    };
  }

  #isInsecure(host: string): boolean {
    return this.#flags.insecure?.includes(host) === true || this.#settings.get(host)?.insecure === true;
  }

  #other(host: string): Promise<OtherHost> {
    const known = this.#others.get(host);
    if (known !== undefined) return known;
    const made = this.#certificates(host).then(({ ca }) => ({ ca, insecure: this.#isInsecure(host) }));
    this.#others.set(host, made);
    return made;
  }

  async #certificates(host: string): Promise<HostCertificates> {
    const { caFile, clientCert, clientKey } = this.#settings.get(host) ?? {};
    const folders = certificateFolders(this.#flags["certs-dir"] ?? [], this.#env);
    const found = await hostCertificates([host, connectHost(host)], folders);
    const listed = caFile === undefined ? [] : [await readAuthorities(caFile, caHint)];
    const client =
      clientCert === undefined || clientKey === undefined
        ? found.client
        : await readClientPair(clientCert, clientKey);
    return { ca: [...listed, ...(found.ca ?? [])], client };
  }
}
