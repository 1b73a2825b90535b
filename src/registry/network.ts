/** The two ways to a registry: undici for small requests, connections of our own for blobs, with one trust. */
import type { Clock } from "../content/retry.ts";
import { blobTransport, requestTransport, type Transport } from "./http.ts";
import { makeAgent, type TrustOptions, wireTrust } from "./net/agent.ts";
import { Wires } from "./net/wires.ts";
import { type RequestTrace, traced } from "./trace.ts";

export interface NetworkOptions extends TrustOptions {
  /** Told of every exchange, those with token services and storages included. */
  readonly onRequest?: ((trace: RequestTrace) => void) | undefined;
}

export interface Network {
  /** Small requests and answers. */
  readonly small: Transport;
  /** Bodies of blobs, in either direction. */
  readonly large: Transport;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Opens nothing yet: connections are made on demand. */
export function makeNetwork(options: NetworkOptions, clock: Clock): Network {
  const dispatcher = makeAgent(options);
  const wires = new Wires(wireTrust(options));
  const { onRequest } = options;
  const told = (transport: Transport): Transport =>
    onRequest === undefined ? transport : traced(transport, clock, onRequest);
  return {
    small: told(requestTransport(dispatcher)),
    large: told(blobTransport(wires)),
    close: async () => {
      wires.close();
      await dispatcher.destroy();
    },
  };
}
