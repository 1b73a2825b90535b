/** The parts of the crash harness that could report wrong figures without anybody noticing. */
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { fetch } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CountingRelay, startCountingRelay } from "./support/counting-relay.ts";
import { connectionTable, unreadBytes } from "./support/kernel.ts";
import { momentsOf, randomOf } from "./support/random.ts";
import { placesOf } from "./support/victim.ts";

const digest = `sha256:${"0".repeat(64)}`;
const body = Buffer.alloc(300_000, 1);
const kibibyte = 1024;

describe("a relay that counts", () => {
  /** Answers every GET with the body, and everything else with 201 when its body is there. */
  const server = createServer((request, response) => {
    request.resume().once("end", () => {
      response.writeHead(request.method === "GET" ? 200 : 201);
      response.end(request.method === "GET" ? body : "");
    });
  });
  let relay: CountingRelay;

  beforeAll(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    relay = await startCountingRelay({ port: (server.address() as AddressInfo).port });
  });
  afterAll(async () => {
    await relay[Symbol.asyncDispose]();
    server.close();
  });

  const url = (path: string): string => `http://${relay.host}/v2/team/app/${path}`;
  const send = async (method: string, path: string, bytes: number): Promise<void> => {
    const answer = await fetch(url(path), { method, body: Buffer.alloc(bytes) });
    expect([answer.status, await answer.text()]).toEqual([201, ""]);
  };

  test("knows which blob the bytes belong to, both ways", async () => {
    relay.forget();
    expect(Buffer.from(await (await fetch(url(`blobs/${digest}`))).arrayBuffer()).equals(body)).toBe(true);
    await (await fetch(url("manifests/1.0"))).arrayBuffer();
    expect([relay.given, relay.givenOf(digest)]).toEqual([600_000, 300_000]);
    await send("PATCH", "blobs/uploads/one", 70_000);
    await send("PUT", `blobs/uploads/one?digest=${encodeURIComponent(digest)}`, 5000);
    await send("PUT", "manifests/1.0", 100);
    expect([relay.sent, relay.sentOf(digest)]).toEqual([75_100, 75_000]);
  });

  test("stands still when the moment has come, until it is let go on", async () => {
    relay.forget();
    const begun = relay.line.total;
    const fetched = fetch(url(`blobs/${digest}`)).then(async (answer) => await answer.arrayBuffer());
    await new Promise<void>((settle) => relay.line.at({ bytes: begun + 100_000 }, settle));
    expect(relay.given).toBeGreaterThanOrEqual(100_000);
    expect(relay.given).toBeLessThan(100_000 + 64 * kibibyte);
    relay.line.thaw();
    expect((await fetched).byteLength).toBe(body.length);
  });

  test("counts tags, and not manifests without one", async () => {
    const before = relay.line.tags;
    await send("PUT", `manifests/${digest}`, 10);
    await send("PUT", "manifests/1.0", 10);
    expect(relay.line.tags).toBe(before + 1);
  });

  test.skipIf(connectionTable() === "")(
    "what the kernel holds for a client is what it has not read",
    async () => {
      relay.forget();
      const client = connect(relay.port, "127.0.0.1");
      client.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nhost: ${relay.host}\r\n\r\n`);
      // Nobody listens for data, so only the first of it is read.
      const onItsWay = (): number => client.bytesRead + unreadBytes(connectionTable(), relay.port);
      await expect.poll(onItsWay, { timeout: 20_000 }).toBeGreaterThan(200 * kibibyte);
      // The two are read one after the other while the relay still gives: they agree once it has to wait.
      const difference = (): number => Math.abs(onItsWay() - relay.given);
      await expect.poll(difference, { timeout: 20_000 }).toBeLessThan(64 * kibibyte);
      expect(relay.blobConnections).toBe(1);
      client.destroy();
      await expect.poll(() => relay.blobConnections, { timeout: 20_000 }).toBe(0);
    },
  );
});

test("moments are the same for the same seed, in order, and within bounds", () => {
  const moments = momentsOf(randomOf(7), 50, 1000);
  expect(moments).toEqual(momentsOf(randomOf(7), 50, 1000));
  expect(moments).not.toEqual(momentsOf(randomOf(8), 50, 1000));
  expect(moments).toEqual([...moments].sort((one, other) => one - other));
  expect([moments.every((moment) => moment >= 0 && moment < 1000), new Set(moments).size > 40]).toEqual([
    true,
    true,
  ]);
});

test("the places of points are the first, the middle and the last of each", () => {
  const points = ["a", "b", "b", "b", "b", "b", "a", "c"];
  expect(placesOf(points, { middle: true })).toEqual(["a#1", "a#2", "b#1", "b#3", "b#5", "c#1"]);
  expect(placesOf(points, { middle: false })).toEqual(["a#1", "a#2", "b#1", "b#5", "c#1"]);
});
