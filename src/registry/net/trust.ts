/** Whom to trust over TLS, host by host: what is given for one registry holds for no host that it leads to. */
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";

/** Certificates for one host; all PEM. */
export interface HostCertificates {
  /** Authorities to trust besides the others. */
  readonly ca?: readonly string[] | undefined;
  /** A client certificate with its key, for a registry that wants one. */
  readonly client?: { readonly cert: string; readonly key: string } | undefined;
}

/** What is known of another host: its authorities, and whether the user waives the check. */
export interface OtherHost {
  readonly ca?: readonly string[] | undefined;
  readonly insecure?: boolean | undefined;
}

export interface TrustOptions {
  /** Authorities to trust for every host, PEM, besides Node's and the system's. */
  readonly ca?: readonly string[] | undefined;
  /** True: the certificate of the registry's own host is not checked. */
  readonly insecure?: boolean | undefined;
  /** For the registry's own host, on any of its ports. */
  readonly own?: HostCertificates | undefined;
  /** For the `host[:port]` of token services, storage and proxies. May throw TLS. */
  readonly others?: ((host: string) => Promise<OtherHost>) | undefined;
}

/** How to begin TLS with a host, and whether its certificate has to be good. */
export interface HostTrust {
  readonly context: SecureContext;
  readonly checked: boolean;
}

/** The trust for the registry's own host, or for the host that is named. */
export async function trustFor(options: TrustOptions, other: string | undefined): Promise<HostTrust> {
  const shared = options.ca ?? [];
  if (other === undefined) {
    const { ca = [], client } = options.own ?? {};
    return { context: secureContext([...shared, ...ca], client), checked: options.insecure !== true };
  }
  // A client certificate names its owner: only the registry itself gets to see it.
  const { ca = [], insecure } = (await options.others?.(other)) ?? {};
  return { context: secureContext([...shared, ...ca]), checked: insecure !== true };
}

const contexts = new Map<string, SecureContext>();

/** One context for all connections with the same trust: parsing the system's store takes milliseconds each time. */
function secureContext(extra: readonly string[], client?: HostCertificates["client"]): SecureContext {
  const key = JSON.stringify([extra, client]);
  const known = contexts.get(key);
  if (known !== undefined) return known;
  const ca = [...new Set([...getCACertificates("default"), ...getCACertificates("system"), ...extra])];
  const context = createSecureContext({ ca, ...client });
  contexts.set(key, context);
  return context;
}
