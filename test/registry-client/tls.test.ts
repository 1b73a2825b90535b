/** Certificates: where they come from, for whom they hold, and what is said of those that are not good. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { networkError } from "../../src/registry/network-errors.ts";
import type { ClientOptions } from "../../src/registry/request.ts";
import { startRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificates, makeCertificates, makeTwoCertificates } from "../support/tls.ts";
import { blobSource, collect, connectTo, descriptorOf, failureOf } from "./support.ts";

const run = promisify(execFile);
let certificates: Certificates;
let other: Certificates;
allTests(makeTwoCertificates, (made) => {
  ({ certificates, other } = made);
});
const bytes = randomBytesOf("tls", 200_000);
const ca = (): readonly string[] => [certificates.ca.cert];

describe("a registry that demands a client certificate", () => {
  const demanding = async () =>
    await startRegistry({ tls: { ...certificates.server, clientCa: certificates.ca.cert } });

  test("gets it with small requests and with blobs", async () => {
    await using registry = await demanding();
    await using watched = connectTo(registry, { ca: ca(), own: { client: certificates.client } });
    const repository = watched.repository("a");
    await repository.push(blobSource(bytes));
    expect(await collect(await repository.open(descriptorOf(bytes)))).toEqual(bytes);
  });

  test("is told apart from any other failure where there is none", async () => {
    await using registry = await demanding();
    await using watched = connectTo(registry, { ca: ca() });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("TLS");
    expect(error.message).toContain(
      `${registry.host} demands a client certificate, and there is none for it`,
    );
    expect(error.hint).toContain("clientCert");
    expect(watched.retries).toEqual([]);
  });

  test.each([
    ["No required SSL certificate was sent", /demands a client certificate, and there is none for it$/],
    ["The SSL certificate error", /does not accept the client certificate$/],
  ])("behind nginx says so with a page: %s", async (title, words) => {
    await using registry = await startRegistry({ tls: certificates.server });
    const body = `<html>\r\n<head><title>400 ${title}</title></head>\r\n</html>\r\n`;
    registry.fault("status", { status: 400, headers: { "content-type": "text/html" }, body });
    await using watched = connectTo(registry, { ca: ca() });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("TLS");
    expect(error.message).toMatch(words);
    expect(error.hint).toContain("client.cert and client.key");
  });

  test.each([
    ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", /does not accept the client certificate/],
    ["ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", /does not accept the client certificate/],
    ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", /refused the TLS handshake/],
    ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", /no version of TLS that is still safe/],
    ["ERR_SSL_WRONG_VERSION_NUMBER", /does not speak TLS/],
  ])("has other alerts too: %s", (code, words) => {
    const error = networkError("read x", "h.example", Object.assign(new Error("raw"), { code }));
    expect(error.code).toBe("TLS");
    expect(error.message).toMatch(words);
    expect(error.hint).toBeTruthy();
  });

  test("is the only one that gets it: a storage elsewhere does not", async () => {
    // The same machine under another name is another host.
    await using storage = await demanding();
    await using registry = await demanding();
    storage.putBlob("a", bytes);
    registry.putBlob("a", bytes);
    const elsewhere = storage.url.replace("127.0.0.1", "localhost");
    registry.fault("redirect-blobs", { location: `${elsewhere}/v2/a/blobs/${descriptorOf(bytes).digest}` });
    await using watched = connectTo(registry, { ca: ca(), own: { client: certificates.client } });
    const error = await failureOf(watched.repository("a").open(descriptorOf(bytes)));
    expect(error.message).toContain("demands a client certificate");
    expect(storage.requests).toEqual([]);
  });
});

describe("what is given for one registry", () => {
  /** A registry and a storage under another name; reads a blob that is there. */
  const follow = async (options: ClientOptions): Promise<Buffer> => {
    await using storage = await startRegistry({ tls: other.server });
    await using registry = await startRegistry({ tls: certificates.server });
    storage.putBlob("a", bytes);
    registry.putBlob("a", bytes);
    const elsewhere = storage.url.replace("127.0.0.1", "localhost");
    registry.fault("redirect-blobs", { location: `${elsewhere}/v2/a/blobs/${descriptorOf(bytes).digest}` });
    await using watched = connectTo(registry, options);
    return await collect(await watched.repository("a").open(descriptorOf(bytes)));
  };

  test.each<[string, () => ClientOptions]>([
    ["no check", () => ({ insecure: true })],
    ["its CAs", () => ({ own: { ca: [certificates.ca.cert, other.ca.cert] } })],
    ["no check, with a CA for a third one", () => ({ insecure: true, others: async () => ({ ca: ca() }) })],
  ])("does not hold for where it leads to: %s", async (_name, options) => {
    const error = await failureOf(follow(options()));
    expect(error.code).toBe("TLS");
    expect(error.message).toContain("localhost");
  });

  test.each<[string, () => ClientOptions]>([
    ["CAs for all", () => ({ ca: [certificates.ca.cert, other.ca.cert] })],
    ["CAs of its own", () => ({ own: { ca: ca() }, others: async () => ({ ca: [other.ca.cert] }) })],
    ["no check of its own", () => ({ insecure: true, others: async () => ({ insecure: true }) })],
  ])("is not needed there with %s", async (_name, options) => {
    expect(await follow(options())).toEqual(bytes);
  });

  test("holds for its other ports: token services live there", async () => {
    await using registry = await startRegistry({
      tls: certificates.server,
      auth: { type: "bearer", users: { ada: "s3cret" } },
    });
    registry.putBlob("a", bytes);
    await using watched = connectTo(registry, {
      insecure: true,
      credential: { username: "ada", password: "s3cret", origin: "config.json" },
    });
    expect(await collect(await watched.repository("a").open(descriptorOf(bytes)))).toEqual(bytes);
    expect(registry.requests.some(({ origin }) => origin === "token")).toBe(true);
  });
});

describe("a certificate that is not good", () => {
  /** A certificate signed by itself. */
  const selfSigned = async (folder: TempDir) => {
    const [key, cert] = [folder.join("k.pem"), folder.join("c.pem")];
    const line = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout ${key} -out ${cert} -days 2`;
    await run("openssl", line.split(" "));
    return { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
  };

  /** A server certificate of the test CA whose time is over. */
  const expired = async () => {
    await using folder = await tempDir();
    const { keyFile } = certificates.server;
    await writeFile(folder.join("index.txt"), "");
    await writeFile(folder.join("x.cnf"), "subjectAltName=IP:127.0.0.1\n");
    await writeFile(
      folder.join("ca.cnf"),
      `[ca]\ndefault_ca=c\n[c]\ndatabase=${folder.join("index.txt")}\nserial=${folder.join("serial")}\npolicy=p\n[p]\ncommonName=supplied\n`,
    );
    const { certFile, keyFile: caKey } = certificates.ca;
    const openssl = async (line: string) => await run("openssl", line.split(" "), { cwd: folder.path });
    await openssl(`req -new -key ${keyFile} -subj /CN=old -out r.csr`);
    await openssl(
      `ca -batch -config ca.cnf -in r.csr -out c.pem -cert ${certFile} -keyfile ${caKey} -md sha256 -notext -startdate 20200101000000Z -enddate 20200201000000Z -extfile x.cnf -create_serial -outdir .`,
    );
    return { key: certificates.server.key, cert: await readFile(folder.join("c.pem"), "utf8") };
  };

  test("signed by itself: said, with the way out", async () => {
    await using folder = await tempDir();
    await using registry = await startRegistry({ tls: await selfSigned(folder) });
    await using watched = connectTo(registry);
    const error = await failureOf(watched.client.connect());
    expect(error.message).toContain("is not trusted: it is signed by nobody but itself");
    expect(error.hint).toContain("--ca-file");
  });

  test("expired: since when", async () => {
    await using registry = await startRegistry({ tls: await expired() });
    await using watched = connectTo(registry, { ca: ca() });
    const error = await failureOf(watched.client.connect());
    expect(error.message).toMatch(/expired on \d{4}-\d\d-\d\d \(CERT_HAS_EXPIRED\)/);
    expect(error.hint).toContain("clock");
  });

  test("for other names: for which", async () => {
    await using named = await makeCertificates(["registry.example", "10.1.2.3"]);
    await using registry = await startRegistry({ tls: named.server, address: "127.0.0.2" });
    await using watched = connectTo(registry, { ca: [named.ca.cert] });
    const error = await failureOf(watched.client.connect());
    expect(error.message).toContain("registry.example");
    expect(error.message).toContain("10.1.2.3");
    expect(error.hint).toContain("use a name that it is for");
  });

  test("of an unknown CA: of which", async () => {
    await using registry = await startRegistry({ tls: certificates.server });
    await using watched = connectTo(registry, { ca: [other.ca.cert] });
    const error = await failureOf(watched.client.connect());
    expect(error.message).toMatch(/not trusted: it is signed by Test CA|not trusted/);
  });

  test("is gone on with where Docker's daemon.json lists the registry, but without credentials", async () => {
    await using registry = await startRegistry({
      tls: certificates.server,
      auth: { type: "basic", users: { ada: "s3cret" } },
    });
    const credential = { username: "ada", password: "s3cret", origin: "config.json" };
    await using watched = connectTo(registry, { listedInsecure: true, credential });
    const error = await failureOf(watched.repository("a").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("its certificate is not trusted");
    expect(error.hint).toContain("--insecure");
    expect(watched.warnings).toEqual([expect.stringContaining("daemon.json")]);
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    await using asked = connectTo(registry, { listedInsecure: true, insecure: true, credential });
    expect((await failureOf(asked.repository("a").resolve("v1"))).code).toBe("NOT_FOUND");
  });
});
