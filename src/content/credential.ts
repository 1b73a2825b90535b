/** Who we are to a registry: part of the contract, since those who find credentials do not know those who use them. */

/** What to prove who we are with. `origin` says where it was found; it never holds the secret itself. */
export interface Credential {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** OAuth2 refresh token (`identitytoken`). */
  readonly identityToken?: string | undefined;
  /** A bearer token to send as it is (`registrytoken`). */
  readonly registryToken?: string | undefined;
  readonly origin: string;
}

/**
 * Finds the credential for a repository of one registry (for the registry as such, if undefined): undefined if
 * there is none. It is asked only once the registry wants to know who we are, and again for every token, so it
 * remembers what was slow to find. Throws AUTH for a place that should have one and cannot be read.
 */
export type FindCredential = (repository: string | undefined) => Promise<Credential | undefined>;
