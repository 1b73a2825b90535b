/** Why there is no answer, as an error that a person can act on: the line, the proxy, TLS, certificates. */
import { AppError, systemCode } from "../errors.ts";
import { printable } from "./errors.ts";
import { isPrivateAddress } from "./host.ts";
import { CertificateFailure, ProxyFailure } from "./net/failures.ts";

/** What is wrong, and the way out. */
interface Reason {
  readonly text: string;
  readonly hint?: string;
}

const unreachable = "check the network, the address and firewalls";
const broke = { text: "the connection broke", hint: "check the network, and try again" };

const networkReasons: Readonly<Record<string, Reason>> = {
  ENOTFOUND: { text: "there is no such host", hint: "check the name for a typing error, and your DNS" },
  EAI_AGAIN: { text: "the name cannot be looked up", hint: "check your DNS and network" },
  ECONNREFUSED: {
    text: "the connection was refused",
    hint: "check the port, and that the registry is running",
  },
  EHOSTUNREACH: { text: "the host cannot be reached", hint: "check the network and the address" },
  ENETUNREACH: { text: "the network cannot be reached", hint: "check the network and the address" },
  ETIMEDOUT: { text: "the connection timed out", hint: unreachable },
  UND_ERR_CONNECT_TIMEOUT: { text: "the connection timed out", hint: unreachable },
  MIRROR_HANDSHAKE_TIMEOUT: {
    text: "it takes connections and does not answer the TLS handshake",
    hint: "check the port, and that the registry is running",
  },
  MIRROR_CLOSED_IN_HANDSHAKE: {
    text: "it closes the connection during the TLS handshake",
    hint: "check the port, and whether a firewall or proxy on the way does it",
  },
  UND_ERR_HEADERS_TIMEOUT: {
    text: "the registry did not answer in time",
    hint: "try again, or look at the registry's log",
  },
  UND_ERR_BODY_TIMEOUT: { text: "no data came for too long", hint: "check the network, and try again" },
  MIRROR_NOT_TAKEN: { text: "it took no data for too long", hint: "check the network, and try again" },
  MIRROR_STALLED: {
    text: "the transfer has stalled (under 1 KiB/s)",
    hint: "check the network, and try again",
  },
  EMFILE: {
    text: "too many files are open",
    hint: "raise the limit (ulimit -n), or take a smaller --concurrency",
  },
  ECONNRESET: broke,
  EPIPE: broke,
  UND_ERR_SOCKET: broke,
};

/** No connection came about. */
const unreachedCodes =
  /^(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT)$/;
const certificateCodes =
  /^(?:CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_)/;
const handshakeCodes = /^(?:ERR_SSL_|EPROTO$)/;

/** True for a failed handshake that a plain-HTTP port would cause (and other things may). */
export function looksLikePlainHttp(error: unknown): boolean {
  return /^(?:ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|EPROTO|MIRROR_CLOSED_IN_HANDSHAKE)$/.test(
    systemCode(error) ?? "",
  );
}

/** The error for a request that got no answer, or whose body broke off. Abort reasons pass through. */
export function networkError(what: string, host: string, cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  if (cause instanceof Error && cause.name === "AbortError") {
    return new AppError("INTERRUPTED", `Cannot ${what}: interrupted`, { cause });
  }
  const code = systemCode(cause) ?? "";
  const details = { host, ...(code === "" ? {} : { code }) };
  if (cause instanceof ProxyFailure) return proxyError(what, cause);
  if (certificateCodes.test(code)) {
    const { text, hint } = certificateReason(host, code, cause);
    return new AppError("TLS", `Cannot ${what}: the certificate of ${host} ${text} (${code})`, {
      hint,
      cause,
      details,
    });
  }
  if (handshakeCodes.test(code)) {
    const { text, hint } = handshakeReason(host, code);
    return new AppError("TLS", `Cannot ${what}: ${host} ${text} (${code})`, { hint, cause, details });
  }
  if (code === "MIRROR_REFUSED_ADDRESS" && cause instanceof Error) {
    return new AppError("REGISTRY", `Cannot ${what}: ${printable(cause.message)}`, {
      hint: "a registry that is not in this network does not lead there: check its configuration",
      cause,
      details,
    });
  }
  const known = networkReasons[code];
  const text = known?.text ?? (cause instanceof Error ? printable(cause.message) : "the connection failed");
  // Storage behind a redirect has another host; the registry's own is in `what` already.
  const isOther = !what.toLowerCase().includes(host);
  const hint =
    isOther && unreachedCodes.test(code)
      ? `the registry leads there: check that ${host} can be reached from here, and what the registry calls itself (http.host, X-Forwarded-Host)`
      : known?.hint;
  const where = isOther ? `${host}: ` : "";
  return new AppError("NETWORK", `Cannot ${what}: ${where}${text}`, { hint, cause, details });
}

function proxyError(what: string, failure: ProxyFailure): AppError {
  const { proxy, status, target, cause } = failure;
  const name = `the proxy ${proxy.host} (${proxy.variable})`;
  const isLocal = isPrivateAddress(target);
  const bypass = `reach ${target} without the proxy: add it to NO_PROXY`;
  const fail = (code: "AUTH" | "DENIED" | "NETWORK" | "TLS", text: string, hint: string): AppError =>
    new AppError(code, `Cannot ${what}: ${name} ${text}`, {
      hint: isLocal ? bypass : hint,
      cause: failure,
      details: { proxy: proxy.host, host: target, ...(status === undefined ? {} : { status }) },
    });
  // tinyproxy refuses a wrong password with 401.
  if (status === 407 || (status === 401 && proxy.authorization !== undefined)) {
    const state = proxy.authorization === undefined ? "wants credentials" : "does not accept the credentials";
    const hint = `write them into ${proxy.variable}: http://USER:PASSWORD@${proxy.host}`;
    return new AppError("AUTH", `Cannot ${what}: ${name} ${state} (${status})`, {
      hint,
      cause: failure,
      details: { proxy: proxy.host, status },
    });
  }
  if (status !== undefined && status < 500) {
    return fail(
      "DENIED",
      `does not let us through to ${target} (${status})`,
      "ask whoever runs the proxy to allow it",
    );
  }
  if (status !== undefined) {
    return fail(
      "NETWORK",
      `cannot reach ${target} (${status})`,
      "check the name and port, and the proxy's log",
    );
  }
  const code = systemCode(cause) ?? "";
  if (certificateCodes.test(code)) {
    const { text, hint = "" } = certificateReason(proxy.host, code, cause);
    return fail("TLS", `cannot be used: its certificate ${text} (${code})`, hint);
  }
  if (handshakeCodes.test(code)) {
    return fail(
      "TLS",
      `does not speak TLS (${code})`,
      `write http:// instead of https:// into ${proxy.variable}`,
    );
  }
  const text = networkReasons[code]?.text ?? "the connection failed";
  return fail("NETWORK", `cannot be used: ${text}`, `check ${proxy.variable}, and that the proxy is running`);
}

function certificateReason(host: string, code: string, cause: unknown): Reason {
  const failure = cause instanceof CertificateFailure ? cause : undefined;
  const trustIt = `give the CA that signed it with --ca-file FILE, or put it into /etc/docker/certs.d/${host}/ca.crt`;
  const clock = "check the clock of this machine";
  const day = (date: Date | undefined): string => date?.toISOString().slice(0, 10) ?? "";
  switch (code) {
    case "CERT_HAS_EXPIRED": {
      const own = failure?.notAfter !== undefined && failure.notAfter.getTime() < Date.now();
      return {
        text: own ? `expired on ${day(failure.notAfter)}` : "or one that it is signed with has expired",
        hint: `renew it on ${host}, or ${clock}`,
      };
    }
    case "CERT_NOT_YET_VALID": {
      const own = failure?.notBefore !== undefined && failure.notBefore.getTime() > Date.now();
      return { text: own ? `is only valid from ${day(failure.notBefore)}` : "is not valid yet", hint: clock };
    }
    case "ERR_TLS_CERT_ALTNAME_INVALID":
    case "HOSTNAME_MISMATCH": {
      const names = failure?.names ?? [];
      const shown = names.length > 8 ? [...names.slice(0, 8), "…"] : names;
      return {
        text: names.length === 0 ? "is for other names" : `is for ${printable(shown.join(", "))}`,
        hint: `use a name that it is for, or have it issued for ${host}`,
      };
    }
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
      return {
        text: "is not trusted: it is signed by nobody but itself",
        hint: `give it with --ca-file FILE, or put it into /etc/docker/certs.d/${host}/ca.crt`,
      };
    case "CERT_REVOKED":
      return { text: "was revoked", hint: `renew it on ${host}` };
    default: {
      const issuer = failure?.issuer === undefined ? "" : `: it is signed by ${printable(failure.issuer)}`;
      return { text: `is not trusted${issuer}`, hint: trustIt };
    }
  }
}

/** What is wrong with the client certificate for a host, and what to do. */
export function clientCertificateReason(host: string, state: "missing" | "refused"): Reason {
  const folder = `/etc/docker/certs.d/${host}/`;
  if (state === "missing") {
    return {
      text: "demands a client certificate, and there is none for it",
      hint: `put client.cert and client.key into ${folder}, or name them with clientCert and clientKey in the list`,
    };
  }
  return {
    text: "does not accept the client certificate",
    hint: `check client.cert and client.key in ${folder}, or clientCert and clientKey in the list`,
  };
}

/** What an alert or a failure of the handshake means; the names are OpenSSL's. */
function handshakeReason(host: string, code: string): Reason {
  if (code.endsWith("ALERT_CERTIFICATE_REQUIRED")) return clientCertificateReason(host, "missing");
  if (/ALERT_(?:BAD_CERTIFICATE|CERTIFICATE_\w+|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE)$/.test(code)) {
    return {
      ...clientCertificateReason(host, "refused"),
      text: "does not accept the client certificate, or demands one",
    };
  }
  if (code.endsWith("ALERT_HANDSHAKE_FAILURE")) {
    return {
      text: "refused the TLS handshake",
      hint: "it may demand a client certificate, or offer no cipher that is still safe",
    };
  }
  if (/(?:UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|ALERT_PROTOCOL_VERSION)$/.test(code)) {
    return { text: "offers no version of TLS that is still safe", hint: "enable TLS 1.2 or 1.3 there" };
  }
  if (code.includes("_ALERT_")) return { text: "refused the TLS handshake" };
  return {
    text: "does not speak TLS",
    hint: `if it is a plain-HTTP registry that you trust, pass --plain-http ${host}`,
  };
}
