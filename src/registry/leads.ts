/** Where an answer leads: redirects and realms, each checked before anything is sent there (protocol notes 1.8). */
import { AppError } from "../errors.ts";
import { printable } from "./errors.ts";
import type { AddressGuard } from "./net/guard.ts";

/**
 * Where a Location header leads. https never leads to http, no URL holds a password, and the guard refuses the
 * addresses of this machine and network. Throws REGISTRY.
 */
export function redirectTarget(location: string, from: URL, what: string, guard: AddressGuard): URL {
  const fail = (state: string, hint?: string): never => {
    throw new AppError("REGISTRY", `Cannot ${what}: ${from.host} redirects ${state}`, { hint });
  };
  // Header bytes arrive as latin1; a Location in UTF-8 has to be read again.
  const text = Buffer.from(location, "latin1").toString("utf8");
  if (!URL.canParse(text, from.href)) fail("to something that is no URL");
  const url = new URL(text, from);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && from.protocol === "http:")) {
    fail(
      `from ${from.protocol}// to ${url.protocol}//${url.host}`,
      "that would drop encryption: check the registry's proxy (X-Forwarded-Proto)",
    );
  }
  if (url.username !== "" || url.password !== "") fail("to a URL with a password in it");
  if (url.host !== from.host && !guard.allows(url.host)) fail(`to the local address ${url.host}`);
  return url;
}

/**
 * The URL of a token service out of a challenge: https unless the registry itself was reached over plain HTTP, and
 * at no address that the guard refuses. A relative one belongs to the registry. Throws AUTH.
 */
export function toRealm(
  text: string | undefined,
  challenged: URL,
  registry: string,
  guard: AddressGuard,
): URL {
  const fail = (reason: string): never => {
    throw new AppError("AUTH", `Cannot log in to ${registry}: ${reason}`, {
      hint: "check the configuration of the registry's token service",
    });
  };
  if (!text) return fail("its challenge names no token service (Bearer without a realm)");
  if (!URL.canParse(text, challenged.href))
    fail(`its token service ${JSON.stringify(printable(text))} is no URL`);
  const realm = new URL(text, challenged);
  if (realm.protocol !== "https:" && !(realm.protocol === "http:" && challenged.protocol === "http:")) {
    fail(`its token service ${realm.protocol}//${realm.host} is not https`);
  }
  if (realm.username !== "" || realm.password !== "")
    fail(`its token service ${realm.host} comes with a password`);
  if (realm.host !== challenged.host && !guard.allows(realm.host)) {
    fail(`its token service is at the local address ${realm.host}`);
  }
  return realm;
}
