/** What a 401 means once it has been answered: the token is not taken, or lacks a right. */
import { AppError } from "../errors.ts";
import type { Authenticator } from "./auth.ts";
import type { RegistryError } from "./errors.ts";

/** A request that was refused with 401 although it was authenticated. */
export interface RefusedRequest {
  readonly what: string;
  readonly registry: string;
  readonly scopes: readonly string[];
  /** The Authorization header that it carried. */
  readonly authorization: string | undefined;
  /** True if no credential was found, and the token is one for anybody. */
  readonly anonymous: boolean;
}

/** The error for it: DENIED where a right is missing, AUTH where the token itself is not taken. */
export function refusal(wanted: RefusedRequest, auth: Authenticator, failure: RegistryError): AppError {
  const { what, registry, scopes, authorization } = wanted;
  const { tokenHost } = auth;
  if (tokenHost === undefined || authorization === undefined) return failure;
  const options = { cause: failure, details: failure.details };
  if (auth.lacksScope) {
    const writes = scopes.some((scope) => /[:,](?:push|\*|delete)(?:,|$)/.test(scope));
    const state = `${writes ? "no push access" : "no access"} (${tokenHost} gives no token for it)`;
    return new AppError("DENIED", `Cannot ${what}: ${state}`, {
      ...options,
      hint: wanted.anonymous
        ? `no credentials were found for it: log in with mirror login ${registry}`
        : `check that your account has the right to do this on ${registry}`,
    });
  }
  return new AppError(
    "AUTH",
    `Cannot ${what}: token rejected: ${registry} answers 401 to what ${tokenHost} has just issued`,
    { ...options, hint: "check the clocks and the configuration of the registry and its token service" },
  );
}
