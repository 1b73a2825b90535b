/** The bound on what a pull that was killed fetches in all. */
import { expect } from "vitest";
import type { CountingRelay } from "./counting-relay.ts";
import type { Kill } from "./victim.ts";

/** What a kill may cost for each connection: one read buffer (src/registry/net/read-buffers.ts). Bytes. */
const readBuffer = 1024 * 1024;

/** The most that a bundle of so many bytes may cost after these kills. Bytes. */
export function allowedBytes(bundle: number, kills: readonly Kill[]): number {
  const lost = kills.reduce((sum, { connections }) => sum + connections * readBuffer, 0);
  return 1.02 * bundle + lost;
}

/** What the program has got in all: what the relay sent, without what no program has read. Bytes. */
export function fetchedBytes(relay: CountingRelay, kills: readonly Kill[]): number {
  return relay.given - kills.reduce((sum, { unread }) => sum + unread, 0);
}

/** Expects that it was not more than is allowed. */
export function expectThrift(
  relay: CountingRelay,
  bundle: number,
  kills: readonly Kill[],
  message: string,
): void {
  expect(fetchedBytes(relay, kills), message).toBeLessThanOrEqual(allowedBytes(bundle, kills));
}
