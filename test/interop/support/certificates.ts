/** Certificates for test registries and token servers, made with openssl. */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { run } from "./process.ts";

/** A key and its self-signed certificate, which is also the CA to trust. PEM texts and where they are. */
export interface Certificate {
  readonly key: string;
  readonly certificate: string;
  readonly keyFile: string;
  readonly certificateFile: string;
}

/** How the key is made. `rsa` has 2048 bits, `ec` is on P-256. */
export type KeyType = "rsa" | "ec";

const keyOptions: Readonly<Record<KeyType, readonly string[]>> = {
  rsa: ["-newkey", "rsa:2048"],
  ec: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
};

/**
 * Makes a certificate for host names and addresses (the first is its common name), valid for a day, as `NAME.key` and
 * `NAME.crt` in `dir`. Throws when openssl is not there.
 */
export async function makeCertificate(options: {
  readonly dir: string;
  readonly hosts: readonly string[];
  readonly name?: string;
  readonly keyType?: KeyType;
}): Promise<Certificate> {
  const { dir, hosts, name = "server", keyType = "ec" } = options;
  const [keyFile, certificateFile] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)];
  const alternatives = hosts.map((host) => `${isIP(host) === 0 ? "DNS" : "IP"}:${host}`).join(",");
  const groups = [
    ["req", "-x509", "-nodes", "-days", "1", ...keyOptions[keyType]],
    ["-subj", `/CN=${hosts[0] ?? name}`, "-addext", `subjectAltName=${alternatives}`],
    ["-keyout", keyFile, "-out", certificateFile],
  ];
  const outcome = await run("openssl", groups.flat());
  if (outcome.code !== 0) throw new Error(`openssl req: ${outcome.stderr.trim()}`);
  return {
    key: await readFile(keyFile, "utf8"),
    certificate: await readFile(certificateFile, "utf8"),
    keyFile,
    certificateFile,
  };
}
