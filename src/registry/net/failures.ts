/** Why a connection could not be made, as far as the system's own codes do not tell it. */
import type { TLSSocket } from "node:tls";
import type { HttpProxy } from "./proxy.ts";

/** A proxy that cannot be reached, or that does not let us through. */
export class ProxyFailure extends Error {
  override readonly name = "ProxyFailure";
  readonly proxy: HttpProxy;
  /** What the proxy answered; undefined: it could not be reached. */
  readonly status: number | undefined;
  /** The `host:port` behind it that was wanted. */
  readonly target: string;

  constructor(
    proxy: HttpProxy,
    target: string,
    reason: { readonly status?: number; readonly cause?: unknown },
  ) {
    super(`the proxy ${proxy.host} failed`, reason.cause === undefined ? undefined : { cause: reason.cause });
    this.proxy = proxy;
    this.target = target;
    this.status = reason.status;
  }
}

/** A certificate that is not accepted, with what it says. */
export class CertificateFailure extends Error {
  override readonly name = "CertificateFailure";
  readonly code: string;
  /** Hosts and addresses that it is for. */
  readonly names: readonly string[];
  /** Whom it says that it is signed by. */
  readonly issuer: string | undefined;
  readonly notBefore: Date | undefined;
  readonly notAfter: Date | undefined;

  /** `socket`: one whose handshake is over, and which is not `authorized`. */
  constructor(socket: TLSSocket) {
    const certificate = socket.getPeerX509Certificate();
    const error: unknown = socket.authorizationError;
    super("the certificate is not trusted");
    // The types say Error; it is the error's code.
    this.code = typeof error === "string" ? error : "CERT_REJECTED";
    this.names = (certificate?.subjectAltName ?? "")
      .split(", ")
      .flatMap((entry) => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? []);
    const issuer = certificate?.issuer.split("\n") ?? [];
    this.issuer = (issuer.find((line) => line.startsWith("CN=")) ?? issuer[0])?.replace(/^\w+=/, "");
    this.notBefore = certificate?.validFromDate;
    this.notAfter = certificate?.validToDate;
  }
}
