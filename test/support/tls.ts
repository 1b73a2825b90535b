/** Certificates for tests, made by the `openssl` program: a private CA, a server and a client that it signed. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { promisify } from "node:util";
import { type TempDir, tempDir } from "./temp.ts";

const run = promisify(execFile);
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** A key and its certificate, as PEM text and as files. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
  readonly keyFile: string;
  readonly certFile: string;
}

/** Disposing of it removes the files. */
export interface Certificates extends AsyncDisposable {
  readonly ca: Certificate;
  readonly server: Certificate;
  readonly client: Certificate;
}

/** Makes two that know nothing of each other. */
export async function makeTwoCertificates(): Promise<
  { readonly certificates: Certificates; readonly other: Certificates } & AsyncDisposable
> {
  const [certificates, other] = await Promise.all([makeCertificates(), makeCertificates()]);
  return {
    certificates,
    other,
    [Symbol.asyncDispose]: async () => {
      await certificates[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
}

/** Makes a CA, and a server certificate for localhost, 127.0.0.1, ::1 and the `names` (hosts or addresses) beside them. */
export async function makeCertificates(names: readonly string[] = []): Promise<Certificates> {
  const folder = await tempDir();
  try {
    const caFiles = filesOf(folder, "ca");
    const subject = ["-subj", "/CN=Test CA", "-days", "2"];
    await run("openssl", [
      "req",
      "-x509",
      ...newKey,
      ...subject,
      "-keyout",
      caFiles.keyFile,
      "-out",
      caFiles.certFile,
    ]);
    const hosts = ["localhost", "127.0.0.1", "::1", ...names];
    const san = hosts.map((name) => `${isIP(name) ? "IP" : "DNS"}:${name}`).join(",");
    const server = await issue(folder, "server", [`subjectAltName=${san}`, "extendedKeyUsage=serverAuth"]);
    const client = await issue(folder, "client", ["extendedKeyUsage=clientAuth"]);
    const ca = await load(folder, "ca");
    return { ca, server, client, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

async function issue(folder: TempDir, name: string, extensions: readonly string[]): Promise<Certificate> {
  const ca = filesOf(folder, "ca");
  const { keyFile, certFile } = filesOf(folder, name);
  const request = folder.join(`${name}.csr`);
  const extensionFile = folder.join(`${name}.cnf`);
  await writeFile(extensionFile, `${extensions.join("\n")}\n`);
  await run("openssl", ["req", ...newKey, "-subj", `/CN=${name}`, "-keyout", keyFile, "-out", request]);
  const signer = ["-CA", ca.certFile, "-CAkey", ca.keyFile, "-CAcreateserial", "-days", "2"];
  await run("openssl", [
    "x509",
    "-req",
    "-in",
    request,
    ...signer,
    "-extfile",
    extensionFile,
    "-out",
    certFile,
  ]);
  return load(folder, name);
}

async function load(folder: TempDir, name: string): Promise<Certificate> {
  const files = filesOf(folder, name);
  const [key, cert] = await Promise.all([readFile(files.keyFile, "utf8"), readFile(files.certFile, "utf8")]);
  return { key, cert, ...files };
}

function filesOf(folder: TempDir, name: string): Pick<Certificate, "keyFile" | "certFile"> {
  return { keyFile: folder.join(`${name}.key`), certFile: folder.join(`${name}.crt`) };
}
