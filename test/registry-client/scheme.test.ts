import { describe, expect, test } from "vitest";
import { discard } from "../../src/registry/http.ts";
import { AddressGuard } from "../../src/registry/net/guard.ts";
import { makeNetwork } from "../../src/registry/network.ts";
import { type RegistryOptions, startRegistry } from "../registry/registry.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates, makeTwoCertificates } from "../support/tls.ts";
import { forward, refusedHost, startRawServer } from "./raw-server.ts";
import { collect, connectTo, descriptorOf, everythingSaid, FakeClock, failureOf } from "./support.ts";

let certificates: Certificates;
let other: Certificates;
allTests(makeTwoCertificates, (made) => {
  ({ certificates, other } = made);
});

const tls = (): NonNullable<RegistryOptions["tls"]> => certificates.server;
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };
const basicAuth = { type: "basic", users: { ada: "s3cret-word" } } as const;

describe("over TLS", () => {
  test("a private CA is trusted when it is given", async () => {
    await using registry = await startRegistry({ tls: tls() });
    await using watched = connectTo(registry, { ca: [certificates.ca.cert] });
    expect((await watched.client.connect()).protocol).toBe("https:");
    expect(watched.client.secure).toBe(true);
    expect(watched.warnings).toEqual([]);
  });

  test("an unknown CA is refused at once, and never answered with plain HTTP", async () => {
    await using registry = await startRegistry({ tls: tls() });
    for (const ca of [[], [other.ca.cert]]) {
      await using watched = connectTo(registry, { ca });
      const error = await failureOf(watched.client.connect());
      expect(error.code).toBe("TLS");
      expect(error.message).toContain(registry.host);
      expect(error.hint).toContain("--ca-file");
      expect(watched.retries).toEqual([]);
    }
    expect(registry.requests).toEqual([]);
  });

  test("a certificate for another name is refused", async () => {
    await using named = await makeCertificates(["registry.example"]);
    await using registry = await startRegistry({ tls: named.server, address: "127.0.0.2" });
    await using watched = connectTo(registry, { ca: [named.ca.cert] });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("TLS");
    expect(error.message).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(registry.requests).toEqual([]);
  });

  test("certificates are not checked where the user wants it so", async () => {
    await using registry = await startRegistry({ tls: tls() });
    await using watched = connectTo(registry, { insecure: true });
    expect((await watched.client.connect()).protocol).toBe("https:");
  });

  test("a TLS port that was said to be plain is told apart", async () => {
    // What Go's net/http answers on a TLS port.
    const text = "Client sent an HTTP request to an HTTPS server.\n";
    await using server = await startRawServer((socket) => {
      socket.once("data", () =>
        socket.end(`HTTP/1.0 400 Bad Request\r\ncontent-length: ${text.length}\r\n\r\n${text}`),
      );
    });
    await using watched = connectTo(server.host, { plainHttp: true });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("TLS");
    expect(error.hint).toContain("--plain-http");
  });
});

describe("over plain HTTP", () => {
  test("a loopback registry is found after TLS failed, with exactly one warning", async () => {
    await using registry = await startRegistry();
    await using watched = connectTo(registry);
    const origins = await Promise.all(Array.from({ length: 5 }, () => watched.client.connect()));
    expect(new Set(origins.map(({ origin }) => origin))).toEqual(new Set([registry.url]));
    expect(watched.client.secure).toBe(false);
    expect(watched.warnings).toHaveLength(1);
    expect(watched.warnings[0]).toContain(registry.host);
    expect(registry.count("GET", /^\/v2\/$/)).toBe(1);
  });

  test.each(["localhost", "registry.localhost"])("%s is loopback too", async (name) => {
    await using registry = await startRegistry();
    const host = `${name}:${new URL(registry.url).port}`;
    await using watched = connectTo(host);
    // Only some resolvers know names under localhost.
    const outcome = await watched.client.connect().catch((error: unknown) => everythingSaid(error));
    if (typeof outcome === "string") expect(outcome).toContain("there is no such host");
    else expect(outcome.origin).toBe(`http://${host}`);
  });

  test("there is no warning where the user said so", async () => {
    await using registry = await startRegistry();
    await using watched = connectTo(registry, { plainHttp: true });
    await watched.client.connect();
    expect(watched.warnings).toEqual([]);
  });

  test("credentials do not go there unasked", async () => {
    await using registry = await startRegistry({ auth: basicAuth });
    await using watched = connectTo(registry, { credential });
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.hint).toContain(`--plain-http ${registry.host}`);
    expect(everythingSaid(error)).not.toContain("s3cret-word");
    expect(registry.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test.each(["password", "identity token"])("no %s goes to the token service either", async (kind) => {
    const token = { identityToken: "s3cret-word", origin: "config.json" };
    await using registry = await startRegistry({
      auth: { ...basicAuth, type: "bearer", anonymousPull: true },
    });
    await using watched = connectTo(registry, { credential: kind === "password" ? credential : token });
    expect((await failureOf(watched.repository("a/b").resolve("v1"))).code).toBe("AUTH");
    expect(registry.count("GET", /^\/token/) + registry.count("POST", /^\/token/)).toBe(0);
  });

  test("neither does a ready-made token", async () => {
    await using registry = await startRegistry({ auth: { ...basicAuth, type: "bearer" } });
    await using watched = connectTo(registry, {
      credential: { registryToken: "s3cret", origin: "config.json" },
    });
    expect((await failureOf(watched.repository("a/b").resolve("v1"))).code).toBe("AUTH");
    expect(registry.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test("they do where the user said so", async () => {
    await using registry = await startRegistry({ auth: basicAuth });
    await using watched = connectTo(registry, { credential, plainHttp: true });
    expect((await failureOf(watched.repository("a/b").resolve("v1"))).code).toBe("NOT_FOUND");
  });
});

describe("what is no registry", () => {
  test("a refused port fails at once and names the host", async () => {
    const host = await refusedHost();
    await using watched = connectTo(host);
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain(`${host}: the connection was refused`);
    expect(error.hint).toContain("port");
    expect(watched.clock.sleeps).toEqual([]);
  });

  test("a silent port can be left with a signal", async () => {
    await using server = await startRawServer(() => undefined);
    await using watched = connectTo(server.host);
    const controller = new AbortController();
    const connecting = watched.client.connect(controller.signal);
    await server.connected;
    controller.abort();
    const error = await failureOf(connecting);
    expect(error.code).toBe("INTERRUPTED");
    expect(error.exitCode).toBe(130);
  });

  test("one that greets first, as SSH does, is no registry over either scheme", async () => {
    await using server = await startRawServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"));
    await using watched = connectTo(server.host);
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain(server.host);
  });

  test("one that hangs up at once fails", async () => {
    await using server = await startRawServer((socket) => socket.destroy());
    await using watched = connectTo(server.host);
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("NETWORK");
  });

  test("a web server without the API fails with its status", async () => {
    await using registry = await startRegistry();
    registry.fault("status", { status: 404, body: "<html>nothing here</html>" });
    await using watched = connectTo(registry, { plainHttp: true });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("404");
    expect(error.message).toContain("does not look like a registry");
  });
});

describe("an address", () => {
  test("of localhost is found", async () => {
    await using registry = await startRegistry();
    await using watched = connectTo(`localhost:${new URL(registry.url).port}`);
    expect((await watched.client.connect()).hostname).toBe("localhost");
  });

  test.each([
    ["127.0.0.1", ["::1", "127.0.0.1"]],
    ["::1", ["127.0.0.1", "::1"]],
  ])("that nobody listens at is followed by the next one of its name: %s of %j", async (address, all) => {
    await using registry = await startRegistry({ address });
    const addresses = all.map((one) => ({ address: one, family: one.includes(":") ? 6 : 4 }));
    const guard = new AddressGuard("dual.localhost", (_name, _options, callback) =>
      callback(null, addresses),
    );
    const network = makeNetwork({}, new FakeClock(), guard);
    const url = new URL(`http://dual.localhost:${new URL(registry.url).port}/v2/`);
    try {
      for (const transport of [network.small, network.large]) {
        const answer = await transport({ method: "GET", url, what: "ping" });
        expect(answer.status).toBe(200);
        discard(answer);
      }
    } finally {
      await network.close();
    }
  });

  test.each([false, true])("of IPv6 stands in brackets, over TLS: %s", async (secure) => {
    await using registry = await startRegistry({ address: "::1", ...(secure ? { tls: tls() } : {}) });
    await using watched = connectTo(registry, { ca: [certificates.ca.cert] });
    expect(registry.host).toMatch(/^\[::1\]:/);
    expect((await watched.client.connect()).protocol).toBe(secure ? "https:" : "http:");
    const bytes = Buffer.from("over IPv6");
    registry.putBlob("a", bytes);
    expect(await collect(await watched.repository("a").open(descriptorOf(bytes)))).toEqual(bytes);
  });
});

describe("connecting", () => {
  test.each([500, 502, 503, 429])("a passing %i is tried again", async (status) => {
    await using registry = await startRegistry();
    registry.fault("status", { status, headers: { "retry-after": "7" }, times: 2 });
    await using watched = connectTo(registry, { plainHttp: true });
    await watched.client.connect();
    expect(watched.retries).toHaveLength(2);
    expect(Math.min(...watched.clock.sleeps)).toBeGreaterThanOrEqual(7000);
  });

  test("a failure is not remembered", async () => {
    await using registry = await startRegistry();
    const fault = registry.fault("status", { status: 404 });
    await using watched = connectTo(registry);
    expect((await failureOf(watched.client.connect())).code).toBe("REGISTRY");
    fault.remove();
    expect((await watched.client.connect()).origin).toBe(registry.url);
  });

  test("plain HTTP is not remembered from a try that failed", async () => {
    // First a plain port without a registry, then the same port with TLS: credentials may go there.
    let secure = false;
    await using registry = await startRegistry({ tls: tls(), auth: basicAuth });
    const { port } = new URL(registry.url);
    await using front = await startRawServer((socket) => {
      if (secure) {
        forward(socket, Number(port));
        return;
      }
      socket.once("data", () => socket.end("HTTP/1.0 404 Not Found\r\n\r\n"));
    });
    await using watched = connectTo(front.host, { ca: [certificates.ca.cert], credential });
    expect((await failureOf(watched.client.connect())).code).toBe("REGISTRY");
    secure = true;
    expect((await failureOf(watched.repository("a/b").resolve("v1"))).code).toBe("NOT_FOUND");
  });
});
