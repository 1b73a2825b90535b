/** A registry in memory with a client of it, for tests that need one of each. */
import type { RegistryRepository } from "../../src/registry/repository.ts";
import type { ClientOptions } from "../../src/registry/request.ts";
import { type RegistryOptions, startRegistry, type TestRegistry } from "../registry/registry.ts";
import { connectTo, type Watched } from "./support.ts";

/** Disposing of it closes both. */
export interface Connected extends AsyncDisposable {
  readonly registry: TestRegistry;
  readonly watched: Watched;
  readonly repository: RegistryRepository;
}

/** Starts a registry, and a client that may use plain HTTP. `repository` is the one that the test is about. */
export async function startConnected(
  repository: string,
  options: RegistryOptions = {},
  clientOptions: ClientOptions = {},
): Promise<Connected> {
  const registry = await startRegistry(options);
  const watched = connectTo(registry, { plainHttp: true, ...clientOptions });
  return {
    registry,
    watched,
    repository: watched.repository(repository),
    [Symbol.asyncDispose]: async () => {
      await watched[Symbol.asyncDispose]();
      await registry.close();
    },
  };
}
