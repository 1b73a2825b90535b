/**
 * HTTPS or HTTP, and is it a registry at all (design: HTTPS first; plain HTTP where the user, the address or Docker's
 * configuration says that it may be). Decided once for a registry, before any credential is sent.
 */
import { AppError, isAppError } from "../errors.ts";
import { answerError, printable } from "./errors.ts";
import { connectHost, isLoopbackHost, isPrivateAddress } from "./host.ts";
import { type Answer, drain, failedAnswer, readText, singleHeader } from "./http.ts";
import type { Spoken } from "./net/probe.ts";
import { clientCertificateReason, looksLikePlainHttp } from "./network-errors.ts";

/** What a registry may be spoken to in. */
export interface SchemeRules {
  /** The user said plain HTTP. */
  readonly plainHttp?: boolean | undefined;
  /** Docker's daemon.json lists it: plain HTTP, or a certificate that nobody trusts, are gone on with, with a warning. */
  readonly listedInsecure?: boolean | undefined;
}

/** What it takes to find out. */
export interface SchemeProbe {
  /** What the port answers a TLS handshake with. */
  readonly speaks: (origin: URL) => Promise<Spoken>;
  /** Asks `GET /v2/`; throws what keeps the registry from being used. */
  readonly ping: (origin: URL) => Promise<void>;
  /** Certificates are not checked from now on. */
  readonly distrust: () => void;
  readonly warn: (message: string) => void;
}

/** Finds the origin of a registry. Throws TLS, NETWORK, REGISTRY as the ping does. */
export async function findOrigin(registry: string, rules: SchemeRules, probe: SchemeProbe): Promise<URL> {
  const host = connectHost(registry);
  const plain = new URL(`http://${host}`);
  if (rules.plainHttp === true) {
    await probe.ping(plain);
    return plain;
  }
  const secure = new URL(`https://${host}`);
  const mayBePlain = isLoopbackHost(host) || isPrivateAddress(host) || rules.listedInsecure === true;
  if (mayBePlain) {
    const spoken = await probe.speaks(secure);
    const error = spoken.kind === "other" ? foreign(registry, spoken) : undefined;
    if (error !== undefined) throw error;
    if (spoken.kind === "http" || spoken.kind === "closed") {
      // Some close the connection on what is no HTTP, without a word.
      await probe.ping(plain).catch((error: unknown) => {
        throw spoken.kind === "closed" && isAppError(error, "NETWORK") ? foreign(registry, spoken) : error;
      });
      probe.warn(`${registry} speaks plain HTTP: nothing that goes there is encrypted`);
      return plain;
    }
  }
  try {
    await probe.ping(secure);
  } catch (error) {
    if (looksLikePlainHttp(error)) throw foreign(registry, await probe.speaks(secure)) ?? error;
    if (rules.listedInsecure !== true || !isAppError(error, "TLS")) throw error;
    probe.distrust();
    await probe.ping(secure);
    probe.warn(`the certificate of ${registry} is not trusted, and used since Docker's daemon.json says so`);
  }
  return secure;
}

/** The error for a port that does not speak TLS; undefined if that is not what is wrong with it. */
function foreign(registry: string, spoken: Spoken): AppError | undefined {
  const allow = `if it is a plain-HTTP registry that you trust, pass --plain-http ${registry}`;
  const details = { host: registry };
  switch (spoken.kind) {
    case "http":
      return new AppError("TLS", `Cannot connect to ${registry}: it speaks plain HTTP, not TLS`, {
        hint: allow,
        details,
      });
    case "other": {
      const says = JSON.stringify(printable(spoken.banner));
      return new AppError(
        "NETWORK",
        `Cannot connect to ${registry}: it speaks neither TLS nor HTTP (it says ${says})`,
        { hint: "check the port", details },
      );
    }
    case "closed":
      return new AppError("NETWORK", `Cannot connect to ${registry}: it closes every connection at once`, {
        hint: `check the port; ${allow}`,
        details,
      });
    default:
      return undefined;
  }
}

/**
 * Judges the answer to `GET /v2/` (distribution-spec "Determining Support"). Returns for what a registry says, and
 * throws for what is none.
 */
export async function judgePing(answer: Answer, registry: string, what: string): Promise<void> {
  // A page for people is what web servers and login portals answer to anything.
  const page = /^text\/html/i.test(singleHeader(answer, "content-type") ?? "");
  if (answer.status === 401 || (answer.status === 200 && !page) || (answer.status === 403 && !page)) {
    await drain(answer);
    return;
  }
  const body = await readText(answer);
  if (/HTTP request (?:was sent )?to (?:an )?HTTPS/i.test(body)) {
    throw new AppError("TLS", `Cannot ${what}: it speaks TLS, not plain HTTP`, {
      hint: `leave out --plain-http ${registry}`,
    });
  }
  // nginx completes the handshake, and says what it lacks afterwards.
  const certificate = /No required SSL certificate was sent/i.test(body)
    ? "missing"
    : /SSL certificate error/i.test(body) && answer.status === 400
      ? "refused"
      : undefined;
  if (certificate !== undefined) {
    const { text, hint } = clientCertificateReason(registry, certificate);
    throw new AppError("TLS", `Cannot ${what}: it ${text}`, { hint, details: { host: registry } });
  }
  const error = answerError(what, failedAnswer("GET", answer, body));
  if (error.passing) throw error;
  throw new AppError(
    "REGISTRY",
    `Cannot ${what}: GET /v2/ answered ${answer.status}${page ? " with a web page" : ""}, so it does not look like a registry`,
    { hint: "check host and port", details: { host: registry, status: answer.status } },
  );
}
