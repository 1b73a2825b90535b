/**
 * Certificates out of files: Docker's and Podman's folders with one folder for each host (`*.crt` are authorities,
 * `NAME.cert` with `NAME.key` a client certificate), and single PEM files.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { AppError, systemCode } from "../errors.ts";
import type { HostCertificates } from "./net/trust.ts";

/** A folder that holds one folder for each host. */
export interface CertificateFolder {
  readonly path: string;
  /** The user named it: it has to be there, and to be readable. */
  readonly named: boolean;
}

/** The folders that are looked into, first those that the user named. `env` gives HOME and XDG_CONFIG_HOME. */
export function certificateFolders(
  named: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): readonly CertificateFolder[] {
  const home = env["HOME"];
  const config = env["XDG_CONFIG_HOME"] || (home ? join(home, ".config") : undefined);
  const usual = [
    ...(config === undefined ? [] : [join(config, "containers/certs.d")]),
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
  ];
  return [...named.map((path) => ({ path, named: true })), ...usual.map((path) => ({ path, named: false }))];
}

/**
 * What the folders hold for a host, by any of its names (`host[:port]`): all authorities, and the first client
 * certificate. Throws TLS for a file that is no certificate, and for a certificate and a key that are no pair.
 */
export async function hostCertificates(
  names: readonly string[],
  folders: readonly CertificateFolder[],
): Promise<HostCertificates> {
  const ca: string[] = [];
  let client: HostCertificates["client"];
  for (const folder of folders) {
    if (folder.named) await list(folder.path, true);
    // A name that could lead out of the folder is nobody's host.
    for (const name of new Set(names.filter((one) => /^[\w[]/.test(one) && !one.includes("/")))) {
      const path = join(folder.path, name);
      const files = await list(path, false, folder.named);
      for (const file of files.filter((one) => one.endsWith(".crt"))) {
        const text = await read(join(path, file), folder.named);
        if (text !== undefined) ca.push(checked(text, join(path, file)));
      }
      client ??= await readClient(path, files, folder.named);
    }
  }
  return { ca, client };
}

/** The authorities in a PEM file. Throws TLS; `hint` says where the path comes from. */
export async function readAuthorities(path: string, hint: string): Promise<string> {
  return checked(await readNamed(path, "the CA file", hint), path);
}

/** A client certificate and its key. Throws TLS. */
export async function readClientPair(
  certFile: string,
  keyFile: string,
): Promise<NonNullable<HostCertificates["client"]>> {
  const hint = "check the path of clientCert and clientKey in the list";
  const cert = await readNamed(certFile, "the client certificate", hint);
  const key = await readNamed(keyFile, "the client key", hint);
  return pair({ cert, key, certFile, keyFile });
}

async function readNamed(path: string, what: string, hint: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new AppError("TLS", `Cannot read ${what} ${path}: ${stateOf(error)}`, { hint, cause: error });
  }
}

async function readClient(
  folder: string,
  files: readonly string[],
  named: boolean,
): Promise<HostCertificates["client"]> {
  const alone = (file: string, other: string): AppError =>
    new AppError("TLS", `Cannot use the client certificate ${join(folder, file)}: ${other} is missing`, {
      hint: "a client certificate is two files, NAME.cert and NAME.key; authorities end in .crt",
    });
  for (const key of files.filter((file) => file.endsWith(".key"))) {
    const cert = key.replace(/key$/, "cert");
    if (!files.includes(cert)) throw alone(key, cert);
  }
  let found: HostCertificates["client"];
  for (const certName of files.filter((file) => file.endsWith(".cert"))) {
    const keyName = certName.replace(/cert$/, "key");
    if (!files.includes(keyName)) throw alone(certName, keyName);
    const [certFile, keyFile] = [join(folder, certName), join(folder, keyName)];
    const [cert, key] = [await read(certFile, named), await read(keyFile, named)];
    if (cert !== undefined && key !== undefined) found ??= pair({ cert, key, certFile, keyFile });
  }
  return found;
}

/** Sorted, so that equal folders give equal certificates. Empty for a folder that is not there. */
async function list(path: string, mustBe: boolean, named = mustBe): Promise<readonly string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (!mustBe && ["ENOENT", "ENOTDIR"].includes(systemCode(error) ?? "")) return [];
    if (!named) return [];
    throw new AppError("TLS", `Cannot read the certificates folder ${path}: ${stateOf(error)}`, {
      hint: "check the path of --certs-dir",
      cause: error,
    });
  }
}

/** Undefined for a file of the system that only others may read: it is not meant for this user. */
async function read(path: string, named: boolean): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (!named && ["EACCES", "EPERM"].includes(systemCode(error) ?? "")) return undefined;
    throw new AppError("TLS", `Cannot read ${path}: ${stateOf(error)}`, {
      hint: "check its permissions",
      cause: error,
    });
  }
}

function checked(pem: string, path: string): string {
  const fail = (state: string, cause?: unknown): never => {
    throw new AppError("TLS", `Cannot read the CA file ${path}: ${state}`, {
      hint: "give a PEM file (-----BEGIN CERTIFICATE-----)",
      cause,
    });
  };
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) fail("there is no certificate in it");
  for (const block of blocks) {
    try {
      new X509Certificate(block);
    } catch (error) {
      fail("a certificate in it cannot be read", error);
    }
  }
  return pem;
}

interface PairFiles {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

function pair({ cert, key, certFile, keyFile }: PairFiles): NonNullable<HostCertificates["client"]> {
  const fail = (path: string, state: string, cause?: unknown): never => {
    throw new AppError("TLS", `Cannot use the client certificate ${path}: ${state}`, {
      hint: "give a certificate and its key, each as an unencrypted PEM file",
      cause,
    });
  };
  const parse = <T>(make: () => T, path: string, state: string): T => {
    try {
      return make();
    } catch (error) {
      return fail(path, state, error);
    }
  };
  const certificate = parse(() => new X509Certificate(cert), certFile, "there is no certificate in it");
  const privateKey = parse(() => createPrivateKey(key), keyFile, "there is no key in it that can be read");
  if (!certificate.checkPrivateKey(privateKey)) fail(certFile, `${basename(keyFile)} is not its key`);
  return { cert, key };
}

function stateOf(error: unknown): string {
  const code = systemCode(error);
  if (code === "ENOENT") return "there is no such file";
  return code === "EACCES" || code === "EPERM" ? "it may not be read" : "it cannot be opened";
}
