/**
 * What holds for every row of the fault list (protocol notes 10, "cross-cutting"): the program ends, its connections
 * close, what it tells has method, host, path and status and no secret, and after the fault it works again.
 */
import { expect } from "vitest";
import { resuming } from "../../src/content/verify.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import type { RegistryClient } from "../../src/registry/client.ts";
import type { ClientOptions } from "../../src/registry/request.ts";
import type { RequestTrace } from "../../src/registry/trace.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { collect, connectTo, everythingSaid, FakeClock, type Watched } from "../registry-client/support.ts";

/** Makes a client whose every word is looked at in the end. */
export type Connect = (registry: TestRegistry | string, options?: ClientOptions) => Watched;

export interface SurvivalOptions {
  /** All registries that take part; their faults are cleared before `again`. */
  readonly registries: readonly TestRegistry[];
  /** Secrets beside those that the registries' logs show. */
  readonly secrets?: readonly string[];
  /** What has to succeed once the faults are gone. */
  readonly again?: (connect: Connect) => Promise<unknown>;
}

/**
 * Runs a case, and asserts what holds for every one. Gives what `run` gives; an error that it returns is looked at for
 * secrets too, so return the error that was expected.
 */
export async function surviving<T>(
  options: SurvivalOptions,
  run: (connect: Connect) => Promise<T>,
): Promise<T> {
  const clients: RegistryClient[] = [];
  const traces: RequestTrace[] = [];
  const watched: Watched[] = [];
  const connect: Connect = (registry, clientOptions = {}) => {
    const made = connectTo(registry, {
      ...clientOptions,
      onRequest: (trace) => {
        traces.push(trace);
        clientOptions.onRequest?.(trace);
      },
    });
    clients.push(made.client);
    watched.push(made);
    return made;
  };
  let result: T;
  try {
    result = await run(connect);
    if (options.again !== undefined) {
      for (const registry of options.registries) registry.clearFaults();
      await options.again(connect);
    }
  } finally {
    await Promise.all(clients.map(async (client) => await client.close()));
  }
  await Promise.all(options.registries.map(async (registry) => await registry.deserted()));
  for (const trace of traces) {
    expect(trace.method).toMatch(/^[A-Z]+$/);
    expect(trace.url).toMatch(/^https?:\/\/[^/?]+\/[^?]*(\?…)?$/);
    expect(String(trace.outcome)).toMatch(/^(\d{3}|[A-Za-z_0-9]+)$/);
  }
  const said = [
    JSON.stringify(traces),
    everythingSaid(result),
    ...watched.flatMap(({ warnings, retries }) => [...warnings, JSON.stringify(retries)]),
  ].join("\n");
  for (const secret of [...(options.secrets ?? []), ...options.registries.flatMap(secretsOf)]) {
    expect(said).not.toContain(secret);
  }
  return result;
}

/** The bytes of a blob of repository `a`, with the retries of a transfer. */
export async function fetchBlob(
  connect: Connect,
  registry: TestRegistry,
  descriptor: Descriptor,
  options: ClientOptions = {},
): Promise<Buffer> {
  const repository = connect(registry, { plainHttp: true, ...options }).repository("a");
  const blob = {
    descriptor,
    isManifest: false,
    open: async (offset: number) => await repository.open(descriptor, { offset }),
  };
  return await collect(resuming(blob, { clock: new FakeClock() }));
}

/** The credentials, upload states and signatures that went over the wire. */
function secretsOf(registry: TestRegistry): readonly string[] {
  return registry.requests.flatMap(({ headers, url }) => {
    const [, sent] = /^\w+ (.+)$/.exec(headers.authorization ?? "") ?? [];
    const decoded = Buffer.from(sent ?? "", "base64").toString("utf8");
    const query = new URL(url, "http://x").searchParams;
    const states = ["_state", "signature", "token", "sig"].flatMap((name) => query.getAll(name));
    return [
      sent ?? "",
      /^[\x21-\x7e]+:/.test(decoded) ? decoded.replace(/^[^:]*:/, "") : "",
      ...states,
    ].filter((secret) => secret.length > 3);
  });
}
