/** Certificates out of files: the folders of Docker and Podman, and pairs that the list names. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { certificateFolders, hostCertificates, readClientPair } from "../../src/registry/certificates.ts";
import { allTests } from "../support/lifetimes.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { type Certificates, makeTwoCertificates } from "../support/tls.ts";
import { failureOf } from "./support.ts";

let certificates: Certificates;
let other: Certificates;
allTests(makeTwoCertificates, (made) => {
  ({ certificates, other } = made);
});

describe("folders of certificates", () => {
  const put = async (folder: TempDir, files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(folder.join(name)), { recursive: true });
      await writeFile(folder.join(name), text);
    }
  };
  const host = "registry.example:5000";
  const load = async (folder: TempDir, names: readonly string[] = [host]) =>
    await hostCertificates(names, [{ path: folder.path, named: true }]);

  test("come in this order", () => {
    const paths = certificateFolders(["/mine"], { HOME: "/home/ada" }).map(({ path }) => path);
    expect(paths).toEqual([
      "/mine",
      "/home/ada/.config/containers/certs.d",
      "/etc/containers/certs.d",
      "/etc/docker/certs.d",
    ]);
    expect(certificateFolders([], { XDG_CONFIG_HOME: "/x", HOME: "/h" })[0]?.path).toBe(
      "/x/containers/certs.d",
    );
  });

  test("give the CAs and the client certificate of the host, and of no other", async () => {
    await using folder = await tempDir();
    const { client } = certificates;
    await put(folder, {
      [`${host}/b.crt`]: other.ca.cert,
      [`${host}/a.crt`]: certificates.ca.cert,
      [`${host}/client.cert`]: client.cert,
      [`${host}/client.key`]: client.key,
      [`${host}/notes.txt`]: "none of our business",
      "registry.example/ca.crt": "not for this port",
    });
    expect(await load(folder)).toEqual({
      ca: [certificates.ca.cert, other.ca.cert],
      client: { cert: client.cert, key: client.key },
    });
    expect(await load(folder, ["elsewhere.example", "..", "../x"])).toEqual({ ca: [], client: undefined });
  });

  test.each<[string, () => Record<string, string>, RegExp]>([
    [
      "a certificate without its key",
      () => ({ "c.cert": certificates.client.cert }),
      /c\.cert: c\.key is missing/,
    ],
    [
      "a key without its certificate",
      () => ({ "c.key": certificates.client.key }),
      /c\.key: c\.cert is missing/,
    ],
    [
      "two that are no pair",
      () => ({ "c.cert": certificates.client.cert, "c.key": other.client.key }),
      /c\.cert: c\.key is not its key/,
    ],
    ["a CA that is none", () => ({ "ca.crt": "hello" }), /ca\.crt: there is no certificate in it/],
    [
      "a damaged CA",
      () => ({ "ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }),
      /ca\.crt: a certificate in it cannot be read/,
    ],
    [
      "a key that is none",
      () => ({ "c.cert": certificates.client.cert, "c.key": "hello" }),
      /c\.key: there is no key in it/,
    ],
  ])("name the file of %s", async (_name, files, message) => {
    await using folder = await tempDir();
    await put(
      folder,
      Object.fromEntries(Object.entries(files()).map(([name, text]) => [`${host}/${name}`, text])),
    );
    const error = await failureOf(load(folder));
    expect(error.code).toBe("TLS");
    expect(error.message).toMatch(message);
    expect(error.message).toContain(folder.path);
    expect(error.hint).toBeTruthy();
  });

  test("have to be there if the user named them", async () => {
    const error = await failureOf(hostCertificates([host], [{ path: "/nowhere/at/all", named: true }]));
    expect(error.message).toContain("/nowhere/at/all: there is no such file");
    expect(await hostCertificates([host], [{ path: "/nowhere/at/all", named: false }])).toEqual({
      ca: [],
      client: undefined,
    });
  });

  test("are not needed for a pair that the list names", async () => {
    const { client } = certificates;
    expect(await readClientPair(client.certFile, client.keyFile)).toEqual({
      cert: client.cert,
      key: client.key,
    });
    const error = await failureOf(readClientPair(client.certFile, "/nowhere.key"));
    expect(error.message).toContain("/nowhere.key: there is no such file");
    expect(error.hint).toContain("clientKey");
  });
});
