/** What the tests of logins and tokens share: a registry that wants to know who we are, and an image in it. */
import type { ClientOptions } from "../../src/registry/request.ts";
import type { LoggedRequest } from "../registry/log.ts";
import { type RegistryOptions, startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { connectTo, type Watched } from "./support.ts";

export const users = { ada: "s3cret:word" };
export const credential = { username: "ada", password: "s3cret:word", origin: "config.json (key x)" };
/** What is in the repositories `a/b` and `c`, as `v1`. */
export const image = await makeImage();

/** Starts a registry with the image in both repositories. */
export async function start(auth: RegistryOptions["auth"]): Promise<TestRegistry> {
  const registry = await startRegistry(auth === undefined ? {} : { auth });
  seed(registry, "a/b", "v1", image);
  seed(registry, "c", "v1", image);
  return registry;
}

/** A client that may send passwords over plain HTTP. */
export function connect(registry: TestRegistry, options: ClientOptions = {}): Watched {
  return connectTo(registry, { plainHttp: true, ...options });
}

/** The requests that the registry's token service got. */
export function tokenRequests(registry: TestRegistry): readonly LoggedRequest[] {
  return registry.requests.filter(({ origin }) => origin === "token");
}
