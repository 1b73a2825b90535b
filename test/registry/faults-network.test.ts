/** The faults of the line do what they say, seen on a bare socket. */
import { connect } from "node:net";
import { expect, test } from "vitest";
import type { FaultName } from "./faults.ts";
import { startRegistry } from "./registry.ts";

/** What comes back for GET of a blob of 20 bytes, until the pattern is in it or the connection ends. */
async function answer(name: FaultName, options: object, until: RegExp): Promise<string> {
  await using registry = await startRegistry();
  const digest = registry.putBlob("a", Buffer.from("abcdefghijklmnopqrst"));
  registry.fault(name, options);
  const { port, hostname } = new URL(registry.url);
  const socket = connect(Number(port), hostname);
  socket.write(`GET /v2/a/blobs/${digest} HTTP/1.1\r\nhost: x\r\n\r\n`);
  let text = "";
  for await (const chunk of socket) {
    text += String(chunk);
    if (until.test(text)) break;
  }
  socket.destroy();
  return text;
}

test.each<[FaultName, object, RegExp]>([
  ["length-too-large", { missing: 7 }, /content-length: 20\r\n\r\nabcdefghijklm$/],
  [
    "length-and-chunks",
    {},
    /content-length: 20\r\ntransfer-encoding: chunked\r\n\r\n14\r\na.*t\r\n0\r\n\r\n$/,
  ],
  ["chunks-without-end", {}, /transfer-encoding: chunked\r\n\r\n14\r\nabcdefghijklmnopqrs$/],
  ["extra-bytes", { extra: 3 }, /content-length: 20\r\n\r\nabcdefghijklmnopqrstxxx$/],
  ["trickle", { first: 5, everyMs: 1 }, /content-length: 20\r\n\r\nabcdefgh/],
  ["stall", { first: 5 }, /content-length: 20\r\n\r\nabcde$/],
])("%s", async (name, options, expected) => {
  expect(await answer(name, options, expected)).toMatch(expected);
});
