/** Blobs over connections of our own: every framing that HTTP/1.1 has, in every cut that TCP can make. */
import type { Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readAll } from "../../src/content/verify.ts";
import { startRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { makeCertificates } from "../support/tls.ts";
import { startRawServer } from "./raw-server.ts";
import { collect, connectTo, descriptorOf, failureOf } from "./support.ts";

const bytes = randomBytesOf("wire", 3000);
const descriptor = descriptorOf(bytes);
const ok = "HTTP/1.1 200 OK\r\n";
const whole = Buffer.concat([Buffer.from(`${ok}content-length: 3000\r\n\r\n`), bytes]);

/** A server whose answers to GET of a blob are these bytes; `end` closes the connection behind them. */
async function serve(answer: (socket: Socket) => void | Promise<void>) {
  return await startRawServer((socket) => {
    socket.on("data", (request) => {
      if (request.toString("latin1").startsWith("GET /v2/ ")) socket.write(`${ok}content-length: 0\r\n\r\n`);
      else void answer(socket);
    });
  });
}

/** The bytes in chunked coding, cut at these places. */
function chunked(content: Buffer, cuts: readonly number[], extension = ""): Buffer {
  const ends = [...new Set([...cuts, content.length])].filter((end) => end > 0).sort((a, b) => a - b);
  const parts = ends.map((end, index) => {
    const part = content.subarray(ends[index - 1] ?? 0, end);
    return Buffer.concat([
      Buffer.from(`${part.length.toString(16)}${extension}\r\n`),
      part,
      Buffer.from("\r\n"),
    ]);
  });
  return Buffer.concat([...parts, Buffer.from("0\r\nx-trailer: t\r\n\r\n")]);
}

const read = async (host: string): Promise<Buffer> => {
  await using watched = connectTo(host, { plainHttp: true });
  return await collect(await watched.repository("a").open(descriptor));
};

describe("a whole body", () => {
  test.each([
    ["with a length", whole],
    [
      "in chunks",
      Buffer.concat([Buffer.from(`${ok}transfer-encoding: chunked\r\n\r\n`), chunked(bytes, [1, 2, 1500])]),
    ],
    [
      "in chunks with extensions",
      Buffer.concat([Buffer.from(`${ok}Transfer-Encoding: Chunked\r\n\r\n`), chunked(bytes, [10], ";a=b")]),
    ],
    [
      "behind an interim answer",
      Buffer.concat([Buffer.from("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"), whole]),
    ],
    [
      "with its length twice",
      Buffer.concat([Buffer.from(`${ok}content-length: 3000\r\ncontent-length: 3000\r\n\r\n`), bytes]),
    ],
    ["without a reason", Buffer.concat([Buffer.from("HTTP/1.1 200\r\ncontent-length:3000\r\n\r\n"), bytes])],
  ])("%s", async (_name, answer) => {
    await using server = await serve((socket) => void socket.write(answer));
    expect(await read(server.host)).toEqual(bytes);
  });

  test.each(["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-type: x/y\r\n\r\n"])(
    "that ends with the connection: %j",
    async (head) => {
      await using server = await serve(
        (socket) => void socket.end(Buffer.concat([Buffer.from(head), bytes])),
      );
      expect(await read(server.host)).toEqual(bytes);
    },
  );

  test("comes through whatever cuts the network makes", async () => {
    const places = fc.array(fc.nat({ max: bytes.length }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(places, places, fc.boolean(), async (chunks, cuts, coded) => {
        const answer = coded
          ? Buffer.concat([Buffer.from(`${ok}transfer-encoding: chunked\r\n\r\n`), chunked(bytes, chunks)])
          : whole;
        await using server = await serve(async (socket) => {
          const ends = [...cuts, 10, answer.length]
            .map((end) => Math.min(end, answer.length))
            .sort((a, b) => a - b);
          for (const [index, end] of ends.entries()) {
            // Each piece has left before the next one is written.
            await new Promise((resolve) => socket.write(answer.subarray(ends[index - 1] ?? 0, end), resolve));
          }
        });
        expect(await read(server.host)).toEqual(bytes);
      }),
      { numRuns: 30 },
    );
  });

  test("byte by byte", async () => {
    const answer = Buffer.concat([
      Buffer.from(`${ok}transfer-encoding: chunked\r\n\r\n`),
      chunked(bytes.subarray(0, 20), [7]),
    ]);
    await using server = await serve(async (socket) => {
      for (const byte of answer) await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    });
    expect(await read(server.host)).toEqual(bytes.subarray(0, 20));
  });
});

describe("a body that is not whole", () => {
  test.each([
    [
      "fewer bytes than its length",
      Buffer.concat([Buffer.from(`${ok}content-length: 3000\r\n\r\n`), bytes.subarray(1)]),
    ],
    [
      "no last chunk",
      Buffer.concat([
        Buffer.from(`${ok}transfer-encoding: chunked\r\n\r\n`),
        chunked(bytes, []).subarray(0, -19),
      ]),
    ],
    ["no head", Buffer.from("HTTP/1.1 200 OK\r\ncontent-le")],
    ["nothing at all", Buffer.alloc(0)],
  ])("fails: %s", async (_name, answer) => {
    await using server = await serve((socket) => void socket.end(answer));
    const error = await failureOf(read(server.host));
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain(server.host);
  });

  test.each([
    ["length and chunks at once", `${ok}content-length: 3000\r\ntransfer-encoding: chunked\r\n\r\n`],
    ["two lengths", `${ok}content-length: 3000\r\ncontent-length: 2000\r\n\r\n`],
    ["a length that is none", `${ok}content-length: 0x10\r\n\r\n`],
    ["a negative length", `${ok}content-length: -1\r\n\r\n`],
    ["another coding", `${ok}transfer-encoding: gzip, chunked\r\n\r\n`],
    ["a chunk without a size", `${ok}transfer-encoding: chunked\r\n\r\nzz\r\n`],
    ["a chunk of negative size", `${ok}transfer-encoding: chunked\r\n\r\n-1\r\n`],
    ["a chunk that is longer than it says", `${ok}transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n`],
    ["a chunk line without end", `${ok}transfer-encoding: chunked\r\n\r\n1;${"x".repeat(5000)}`],
    ["a header that is none", `${ok}content-length : 3\r\n\r\nabc`],
    ["a folded header", `${ok}x: y\r\n z\r\ncontent-length: 3\r\n\r\nabc`],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n"],
    ["a head without end", `${ok}${"x: y\r\n".repeat(20_000)}`],
  ])("is refused: %s", async (_name, answer) => {
    await using server = await serve((socket) => void socket.write(answer));
    const error = await failureOf(read(server.host));
    expect(error.code).toBe("NETWORK");
  });
});

describe("connections", () => {
  test("are used again, one answer after the other", async () => {
    await using server = await serve((socket) => void socket.write(whole));
    await using watched = connectTo(server.host, { plainHttp: true });
    for (let index = 0; index < 5; index += 1) {
      expect(await collect(await watched.repository("a").open(descriptor))).toEqual(bytes);
    }
    // One for the ping, one for the blobs.
    expect(server.connections()).toBe(2);
  });

  test("are not used again where more came than was promised: it would be the next answer", async () => {
    const poison = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong");
    await using server = await serve((socket) => void socket.write(Buffer.concat([whole, poison])));
    await using watched = connectTo(server.host, { plainHttp: true });
    for (let index = 0; index < 3; index += 1) {
      expect(await collect(await watched.repository("a").open(descriptor))).toEqual(bytes);
    }
  });

  test("that the server has closed meanwhile are replaced without a word", async () => {
    await using server = await serve((socket) => void socket.end(whole));
    await using watched = connectTo(server.host, { plainHttp: true });
    for (let index = 0; index < 5; index += 1) {
      expect(await collect(await watched.repository("a").open(descriptor))).toEqual(bytes);
    }
    expect(watched.retries).toEqual([]);
  });

  test("carry many blobs at a time, over TLS too", async () => {
    await using certificates = await makeCertificates();
    for (const tls of [undefined, certificates.server]) {
      await using registry = await startRegistry(tls === undefined ? {} : { tls });
      await using watched = connectTo(registry, { ca: [certificates.ca.cert] });
      const blobs = Array.from({ length: 10 }, (_, index) => randomBytesOf(`many ${index}`, 700_000 + index));
      for (const blob of blobs) registry.putBlob("a", blob);
      const repository = watched.repository("a");
      const got = await Promise.all(
        blobs.map(
          async (blob) => await readAll(await repository.open(descriptorOf(blob)), descriptorOf(blob), 1e6),
        ),
      );
      for (const [index, blob] of blobs.entries()) expect(got[index]?.equals(blob)).toBe(true);
    }
  });
});

test("a head made to be slow is read as fast as any other", async () => {
  const slow = `HTTP/1.1 200 OK\r\nx: y${" ".repeat(60_000)}y\r\ncontent-length: 3000\r\n\r\n`;
  await using server = await serve((socket) => void socket.write(Buffer.concat([Buffer.from(slow), bytes])));
  await read(server.host);
  const before = process.cpuUsage();
  expect(await read(server.host)).toEqual(bytes);
  const { user } = process.cpuUsage(before);
  // Microseconds of the processor; it was seconds.
  expect(user).toBeLessThan(1_000_000);
});

test("a token cannot smuggle a header in", async () => {
  await using registry = await startRegistry();
  registry.customFault("challenge", {
    path: /^\/v2\//,
    intercept: () => ({ status: 401, headers: { "www-authenticate": 'Bearer realm="/token"' } }),
  });
  registry.customFault("token", {
    path: /^\/token$/,
    intercept: () => ({ status: 200, body: [Buffer.from('{"token":"a\\r\\nx-evil: 1"}')] }),
  });
  await using watched = connectTo(registry, { plainHttp: true });
  for (const attempt of [
    async () => await watched.repository("a").open(descriptor),
    async () => await watched.repository("a").resolve("v1"),
  ]) {
    const error = await failureOf(attempt());
    expect(error.message).not.toContain("x-evil");
  }
  expect(registry.requests.every(({ headers }) => headers["x-evil"] === undefined)).toBe(true);
});

test("the last chunk of a blob stays as it is while the same connection brings the next blob", async () => {
  await using registry = await startRegistry();
  const blobs = ["one", "two", "three"].map((seed) => randomBytesOf(seed, 3_000_000));
  for (const blob of blobs) registry.putBlob("a", blob);
  await using watched = connectTo(registry);
  const last: Uint8Array[] = [];
  const copies: Buffer[] = [];
  for (const blob of blobs) {
    let chunk: Uint8Array = new Uint8Array();
    for await (chunk of await watched.repository("a").open(descriptorOf(blob))) {
      // Only the last one is of interest.
    }
    last.push(chunk);
    copies.push(Buffer.from(chunk));
  }
  // A writer that is busy with the end of one blob must not find another blob in its hands.
  expect(last.map((chunk, index) => copies[index]?.equals(chunk))).toEqual([true, true, true]);
});
