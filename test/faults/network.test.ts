/** Rows 12 and 14 of the fault list: redirects, and ports that are no registry. */
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/errors.ts";
import { discard, type Transport } from "../../src/registry/http.ts";
import { redirectTarget } from "../../src/registry/leads.ts";
import { AddressGuard } from "../../src/registry/net/guard.ts";
import type { Spoken } from "../../src/registry/net/probe.ts";
import { makeNetwork } from "../../src/registry/network.ts";
import { findOrigin } from "../../src/registry/scheme.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { startRawServer } from "../registry-client/raw-server.ts";
import { descriptorOf, FakeClock, failureOf } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Connect, fetchBlob, surviving } from "./support.ts";

let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

const bytes = randomBytesOf("network rows", 200_000);
const descriptor = descriptorOf(bytes);
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };
const auth = { type: "basic", users: { ada: "s3cret-word" } } as const;

/** The blob from a registry, with the retries of a transfer. */
async function fetch(connect: Connect, registry: TestRegistry, options: Parameters<Connect>[1] = {}) {
  return await fetchBlob(connect, registry, descriptor, { ca: [certificates.ca.cert], ...options });
}

describe("redirects", () => {
  const secured = async (): Promise<TestRegistry> => {
    const registry = await startRegistry({ tls: certificates.server, auth });
    registry.putBlob("a", bytes);
    return registry;
  };

  test.each<[string, (plain: TestRegistry) => string, RegExp]>([
    ["https to http", (plain) => `${plain.url}/loot`, /redirects from https:\/\/ to http:\/\//],
    ["a password", (plain) => `https://eve:h1dden@${plain.host}/`, /a URL with a password/],
  ])("row 12: to what drops protection is refused: %s", async (_name, location, message) => {
    await using plain = await startRegistry();
    await using registry = await secured();
    registry.fault("redirect-blobs", { location: location(plain) });
    const registries = [registry, plain];
    const run = async (connect: Connect) =>
      await failureOf(fetch(connect, registry, { plainHttp: false, credential }));
    const again = async (connect: Connect) =>
      await fetch(connect, registry, { plainHttp: false, credential });
    const error = await surviving({ registries, secrets: ["h1dden"], again }, run);
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toMatch(message);
    expect(plain.requests).toEqual([]);
  });

  test.each(["127.0.0.1:5000", "localhost", "10.0.0.1", "169.254.169.254", "[::1]"])(
    "row 12: a registry out there does not lead to %s",
    (host) => {
      const guard = new AddressGuard("registry.example");
      const from = new URL("https://registry.example/v2/a");
      expect(() => redirectTarget(`https://${host}/x`, from, "read x", guard)).toThrow("local address");
    },
  );

  test("row 12: nor to a name that stands for this machine, unless it lives there itself", async () => {
    await using server = await startRegistry();
    const { port } = new URL(server.url);
    const guard = new AddressGuard("registry.example", (_name, options, callback) => {
      const found = [{ address: "127.0.0.1", family: 4 }];
      if (options.all === true) callback(null, found);
      else callback(null, "127.0.0.1", 4);
    });
    const network = makeNetwork({}, new FakeClock(), guard);
    const ask = async (transport: Transport, host: string) => {
      const url = new URL(`http://${host}:${port}/v2/`);
      return await transport({ method: "GET", url, what: "read x" });
    };
    try {
      for (const transport of [network.small, network.large]) {
        const error = await failureOf(ask(transport, "storage.example"));
        expect(error.code).toBe("REGISTRY");
        expect(error.message).toBe("Cannot read x: storage.example stands for the local address 127.0.0.1");
      }
      expect((await failureOf(ask(network.small, "127.0.0.1"))).code).toBe("REGISTRY");
      expect(server.requests).toEqual([]);
      // Where the registry itself turns out to live, its neighbours may be named.
      discard(await ask(network.small, "registry.example"));
      for (const transport of [network.small, network.large])
        discard(await ask(transport, "storage.example"));
      expect(server.requests).toHaveLength(3);
    } finally {
      await network.close();
    }
  });

  test("row 12: a chain of 11 hops, a loop of one, and a redirect to nowhere fail, each with its message", async () => {
    for (const [location, message] of [
      [(count: number) => `/hop/${count}`, /redirects more than 10 times/],
      [() => `/v2/a/blobs/${descriptor.digest}`, /redirects in a circle/],
      [() => undefined, /redirects to nowhere \(307 without a Location\)/],
    ] as const) {
      await using registry = await startRegistry();
      registry.putBlob("a", bytes);
      let count = 0;
      registry.customFault("hops", {
        path: /^\/(?:hop|v2\/a\/blobs)\//,
        intercept: () => {
          count += 1;
          const to = location(count);
          return { status: 307, headers: to === undefined ? {} : { location: to } };
        },
      });
      const again = async (connect: Connect) => expect(await fetch(connect, registry)).toEqual(bytes);
      const error = await surviving({ registries: [registry], again }, async (connect) =>
        failureOf(fetch(connect, registry)),
      );
      expect(error.code).toBe("REGISTRY");
      expect(error.message).toMatch(message);
      expect(count).toBeLessThanOrEqual(11);
    }
  });

  test("row 12: a Location in UTF-8 is followed", async () => {
    await using registry = await startRegistry();
    registry.putBlob("a", bytes);
    registry.fault("redirect-blobs", { location: Buffer.from("/größe").toString("latin1") });
    registry.customFault("place", { path: /^\/größe$/, intercept: () => ({ status: 200, body: [bytes] }) });
    const got = await surviving({ registries: [registry] }, (connect) => fetch(connect, registry));
    expect(got).toEqual(bytes);
  });
});

describe("a port that is no registry with TLS", () => {
  const cases: readonly (readonly [string, (socket: Socket) => void, RegExp, RegExp])[] = [
    [
      "an SSH banner",
      (socket) => void socket.write("SSH-2.0-OpenSSH_9.2\r\n"),
      /it speaks neither TLS nor HTTP \(it says "SSH-2.0-OpenSSH_9.2"\)/,
      /check the port/,
    ],
    [
      "one that hangs up",
      (socket) => void socket.destroy(),
      /it closes every connection at once/,
      /check the port.*--plain-http/,
    ],
    [
      "a silent one",
      () => undefined,
      /it takes connections and does not answer the TLS handshake/,
      /check the port/,
    ],
  ];

  test.each(cases)("row 14: on this machine, %s", async (name, serve, message, hint) => {
    const silent = name === "a silent one";
    await using server = await startRawServer(serve);
    const error = await surviving({ registries: [] }, async (connect) =>
      failureOf(connect(server.host, silent ? { timeouts: { connectMs: 50 } } : {}).client.connect()),
    );
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain(server.host);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });

  test("row 14: on this machine, plain HTTP is gone on with, and gets no credential", async () => {
    await using registry = await startRegistry({ auth });
    const error = await surviving({ registries: [registry] }, async (connect) =>
      failureOf(connect(registry, { credential }).repository("a").resolve("v1")),
    );
    expect(error.code).toBe("AUTH");
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  /** The policy for a host out there, whose first ping fails in the handshake. */
  const elsewhere = async (spoken: Spoken): Promise<{ error: AppError; pinged: readonly string[] }> => {
    const pinged: string[] = [];
    const cause = Object.assign(new Error("raw"), { code: "ERR_SSL_WRONG_VERSION_NUMBER" });
    const error = await failureOf(
      findOrigin(
        "registry.example",
        {},
        {
          speaks: async () => spoken,
          ping: async (origin) => {
            pinged.push(origin.protocol);
            throw new AppError("TLS", "handshake", { cause });
          },
          distrust: () => pinged.push("distrust"),
          warn: (message) => pinged.push(message),
        },
      ),
    );
    return { error, pinged };
  };

  test.each<[Spoken, string, RegExp, RegExp]>([
    [{ kind: "http" }, "TLS", /it speaks plain HTTP, not TLS/, /--plain-http registry\.example/],
    [
      { kind: "other", banner: "220 mail\u001b[2J" },
      "NETWORK",
      /neither TLS nor HTTP \(it says "220 mail \[2J"\)/,
      /port/,
    ],
    [{ kind: "closed" }, "NETWORK", /closes every connection at once/, /--plain-http registry\.example/],
    [{ kind: "tls" }, "TLS", /^handshake$/, /^$/],
  ])("row 14: anywhere else, %j is never gone on with", async (spoken, code, message, hint) => {
    const { error, pinged } = await elsewhere(spoken);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.hint ?? "").toMatch(hint);
    expect(pinged).toEqual(["https:"]);
  });
});
