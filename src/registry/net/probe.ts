/** What a port speaks that does not complete a TLS handshake (protocol notes 2): told by the first bytes from it. */
import { Duplex } from "node:stream";
import { connect as connectTls, createSecureContext } from "node:tls";
import { systemCode } from "../../errors.ts";
import type { Connector } from "./connector.ts";

/** `unknown`: no connection could be made, and the next one will tell why. */
export type Spoken =
  | { readonly kind: "tls" | "http" | "closed" | "silent" | "unknown" }
  /** It says something else, such as an SSH banner. */
  | { readonly kind: "other"; readonly banner: string };

const bannerBytes = 200;

/** Begins a TLS handshake and looks at what comes back. Nothing else is sent, and no certificate is looked at. */
export async function whatItSpeaks(
  connector: Connector,
  origin: URL,
  waitMs: number,
  signal?: AbortSignal,
): Promise<Spoken> {
  const socket = await connector.openBare(origin, signal).catch(() => undefined);
  if (socket === undefined) return { kind: "unknown" };
  const { promise, resolve } = Promise.withResolvers<Spoken>();
  const timer = setTimeout(() => resolve({ kind: "silent" }), waitMs);
  const give = (): void => resolve({ kind: "unknown" });
  signal?.addEventListener("abort", give, { once: true });
  // TLS takes its bytes from the socket itself where it can, and nobody else gets to see them then.
  const between = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array, _encoding, done) => void socket.write(chunk, () => done()),
  });
  socket.once("data", (chunk: Buffer) => resolve(judge(chunk)));
  // A tunnel through a proxy was paused when it stood.
  socket.resume();
  socket.once("close", () => resolve({ kind: "closed" }));
  socket.on("end", () => resolve({ kind: "closed" }));
  socket.on("error", (error) => resolve({ kind: systemCode(error) === "ECONNRESET" ? "closed" : "unknown" }));
  const tls = connectTls({
    socket: between,
    secureContext: createSecureContext({ ca: [] }),
    rejectUnauthorized: false,
  });
  tls.on("error", () => undefined);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", give);
    tls.destroy();
    between.destroy();
    socket.destroy();
  }
}

/** Tells by the first bytes. */
function judge(bytes: Buffer): Spoken {
  // Records of TLS: a handshake (22) or an alert (21), version 3.x.
  if ((bytes[0] === 0x16 || bytes[0] === 0x15) && bytes[1] === 0x03) return { kind: "tls" };
  const text = bytes.toString("latin1", 0, bannerBytes);
  // Some answer what they take for HTTP/0.9 with a page and no head.
  if (/^(?:HTTP\/|\s*<)/i.test(text)) return { kind: "http" };
  return { kind: "other", banner: text.split(/[\r\n]/)[0] ?? "" };
}

/**
 * Why a server ends every connection before it answers: with TLS 1.3 the alert for a client certificate that is missing
 * comes after the handshake, and gets lost behind the end of the stream for whoever reads. Undefined if it gives none.
 */
export async function lateAlert(
  connector: Connector,
  origin: URL,
  waitMs: number,
  signal?: AbortSignal,
): Promise<Error | undefined> {
  try {
    const socket = await connector.open(origin, { signal });
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    // Nothing is read on purpose: the error is what is waited for.
    socket.once("error", resolve).once("close", () => resolve(undefined));
    const timer = setTimeout(() => resolve(undefined), waitMs);
    const give = (): void => resolve(undefined);
    signal?.addEventListener("abort", give, { once: true });
    try {
      const error = await promise;
      return systemCode(error)?.includes("_ALERT_") === true ? error : undefined;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", give);
      socket.destroy();
    }
  } catch (error) {
    return error instanceof Error && systemCode(error)?.includes("_ALERT_") === true ? error : undefined;
  }
}
