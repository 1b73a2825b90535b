/** The steps of one connection under way (TCP, proxy, TLS), with one deadline and one end for all of them. */
import type { Socket } from "node:net";
import { coded } from "./wire-format.ts";

/** Ends with `end`, which must be called. */
export class Steps {
  /** What a deadline that passes fails with; set anew by steps that know better what is waited for. */
  late: Error = coded("UND_ERR_CONNECT_TIMEOUT", "the connection timed out");
  readonly #sockets: Socket[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.fail(this.#signal?.reason);
  #failure: Error | undefined;

  constructor(deadlineMs: number, signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.#timer = setTimeout(() => this.fail(this.late), deadlineMs);
    signal?.addEventListener("abort", this.#abort, { once: true });
    if (signal?.aborted === true) this.#abort();
  }

  /** Why all of it was given up; undefined as long as it was not. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** True if the caller does not want the connection any more. */
  get aborted(): boolean {
    return this.#signal?.aborted === true;
  }

  /** Waits for a socket's event. Throws what the socket fails with, or why all was given up. */
  async reached(socket: Socket, event: "connect" | "secureConnect"): Promise<void> {
    this.#sockets.push(socket);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (error?: Error): void =>
      reject(this.#failure ?? error ?? coded("ECONNRESET", "the connection was closed"));
    const close = (): void => fail();
    // Not taken away again: a socket that fails between two owners must not end the program.
    socket.on("error", fail);
    socket.once("close", close);
    socket.once(event, resolve);
    if (this.#failure !== undefined) this.fail(this.#failure);
    try {
      await promise;
      // An alert may come with the end of the handshake, and fail the socket before anybody else listens to it.
      if (socket.errored !== null) throw socket.errored;
    } finally {
      socket.off(event, resolve).off("close", close);
    }
  }

  /** Gives everything up. */
  fail(reason: unknown): void {
    this.#failure ??=
      reason instanceof Error ? reason : coded("UND_ERR_SOCKET", "the connection was given up");
    for (const socket of this.#sockets.toReversed()) socket.destroy(this.#failure);
  }

  /** Ends the deadline. */
  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
  }
}
