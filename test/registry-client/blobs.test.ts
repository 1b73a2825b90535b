import { describe, expect, test } from "vitest";
import type { BlobSource } from "../../src/content/content.ts";
import { resuming, verified } from "../../src/content/verify.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { type Reply, replyHeader } from "../registry/http.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { startRawServer } from "./raw-server.ts";
import { collect, connectTo, descriptorOf, failureOf, logged, type Watched } from "./support.ts";

const bytes = randomBytesOf("blobs", 1_000_000);
const descriptor = descriptorOf(bytes);

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
eachTest(
  async () => await startConnected("a"),
  (made) => {
    ({ registry, watched, repository } = made);
    registry.putBlob("a", bytes);
  },
);

const blob: BlobSource = {
  descriptor,
  isManifest: false,
  open: async (offset, signal) => await repository.open(descriptor, { offset, signal }),
};
const read = async (): Promise<Buffer> =>
  await collect(verified(resuming(blob, { clock: watched.clock }), descriptor));
const ranges = (): readonly (string | undefined)[] =>
  logged(registry, "GET", /blobs/).map(({ headers }) => headers.range);

/** Answers ranges with a reply of one's own. */
function onRange(make: (reply: Reply) => Reply): void {
  registry.customFault("odd range", {
    methods: ["GET"],
    path: /blobs/,
    transform: (reply) => (reply.status === 206 ? make(reply) : undefined),
  });
}
const withRange = (text: string): void =>
  onRange((reply) => ({ ...reply, headers: { ...reply.headers, "content-range": text } }));

describe("opening", () => {
  test("gives the bytes, uncompressed, without a range", async () => {
    expect(await collect(await repository.open(descriptor))).toEqual(bytes);
    const [request] = logged(registry, "GET", /blobs/);
    expect(request?.headers.range).toBeUndefined();
    expect(request?.headers["accept-encoding"]).toBe("identity");
  });

  test("in the middle asks for a closed range", async () => {
    expect(await collect(await repository.open(descriptor, { offset: 999_000 }))).toEqual(
      bytes.subarray(999_000),
    );
    expect(ranges()).toEqual(["bytes=999000-999999"]);
  });

  test("an ignored range is read and dropped up to the offset", async () => {
    registry.fault("ignore-range");
    for (const offset of [1, 65_536, 999_999]) {
      expect(await collect(await repository.open(descriptor, { offset }))).toEqual(bytes.subarray(offset));
    }
  });

  test.each([
    "bytes 0-99/1000000",
    "bytes 500001-999999/1000000",
    "bytes 500000-999999/2000000",
    "bytes 500000-499999/1000000",
    "bytes 500000-1000000/1000000",
    "bytes */1000000",
    "items 500000-999999/1000000",
    "",
  ])("another range than the one asked for is never used, the whole is: %s", async (text) => {
    withRange(text);
    expect(await collect(await repository.open(descriptor, { offset: 500_000 }))).toEqual(
      bytes.subarray(500_000),
    );
    expect(ranges()).toEqual(["bytes=500000-999999", undefined]);
  });

  test("a range with an unknown total is taken", async () => {
    withRange("bytes 500000-999999/*");
    expect(await collect(await repository.open(descriptor, { offset: 500_000 }))).toEqual(
      bytes.subarray(500_000),
    );
  });

  test("a refused range is read whole instead, and the promised body of the 416 is not waited for", async () => {
    // distribution 2.8 announces the whole blob's length here and sends nothing.
    registry.fault("status", {
      status: 416,
      headers: { "content-length": `${bytes.length}`, "content-range": `bytes */${bytes.length}` },
      times: 1,
      match: { path: /blobs/ },
    });
    expect(await collect(await repository.open(descriptor, { offset: 500_000 }))).toEqual(
      bytes.subarray(500_000),
    );
  });

  test("what is not there is NOT_FOUND, and the registry's words are in the message", async () => {
    registry.deleteBlob("a", descriptor.digest);
    const error = await failureOf(repository.open(descriptor));
    expect(error.code).toBe("NOT_FOUND");
    expect(error.message).toContain("BLOB_UNKNOWN");
  });

  test("leaving in the middle ends the connection and not the client", async () => {
    for await (const chunk of await repository.open(descriptor)) {
      expect(chunk.byteLength).toBeGreaterThan(0);
      break;
    }
    expect(await collect(await repository.open(descriptor))).toEqual(bytes);
  });

  test("can be interrupted while it waits for an answer", async () => {
    const controller = new AbortController();
    registry.fault("slow", { match: { path: /blobs/ } });
    const opening = repository.open(descriptor, { signal: controller.signal });
    await expect.poll(() => registry.count("GET", /blobs/)).toBe(1);
    controller.abort();
    expect((await failureOf(opening)).code).toBe("INTERRUPTED");
  });
});

describe("reading with resume", () => {
  test("goes on at the byte where the connection broke, as often as it breaks", async () => {
    registry.fault("drop-body-after", { bytes: 300_000, times: 3 });
    expect(await read()).toEqual(bytes);
    expect(ranges()).toEqual([
      undefined,
      "bytes=300000-999999",
      "bytes=600000-999999",
      "bytes=900000-999999",
    ]);
    expect(registry.requests.reduce((sum, { bytesOut }) => sum + bytesOut, 0)).toBeLessThan(
      bytes.length + 1000,
    );
  });

  test("more breaks than tries end well as long as bytes come", async () => {
    registry.fault("drop-body-after", { bytes: 50_000 });
    expect(await read()).toEqual(bytes);
    expect(ranges()).toHaveLength(20);
  });

  test("a break in every answer before its first byte ends", async () => {
    registry.fault("drop-body-after", { bytes: 0 });
    const error = await failureOf(read());
    expect(error.code).toBe("NETWORK");
    expect(watched.clock.sleeps.length).toBeLessThan(50);
  });

  test("an ignored range neither skips nor repeats a byte", async () => {
    registry.fault("drop-body-after", { bytes: 300_000, times: 1 });
    registry.fault("ignore-range");
    expect(await read()).toEqual(bytes);
  });

  test("a body without a length that ends early is found out", async () => {
    registry.fault("unframed-body", { bytes: 400_000, times: 1 });
    expect(await read()).toEqual(bytes);
    expect(ranges()).toEqual([undefined, "bytes=400000-999999"]);
  });

  test("a range that is shorter than asked is taken, and the rest asked for", async () => {
    registry.fault("drop-body-after", { bytes: 500_000, times: 1 });
    onRange((reply) => {
      const body = Buffer.concat(reply.body ?? []).subarray(0, 200_000);
      const start = Number(/^bytes (\d+)/.exec(replyHeader(reply, "content-range") ?? "")?.[1]);
      return {
        ...reply,
        headers: { "content-range": `bytes ${start}-${start + body.length - 1}/1000000` },
        body: [body],
      };
    });
    expect(await read()).toEqual(bytes);
  });

  test("nothing is asked for once all bytes are there", async () => {
    // The last byte comes, and then the connection breaks, before the end of the chunked coding.
    registry.customFault("no last chunk", {
      methods: ["GET"],
      path: /blobs/,
      transform: (reply) => ({
        ...reply,
        headers: { ...reply.headers, "transfer-encoding": "chunked" },
        cutAfter: bytes.length,
      }),
    });
    expect(await read()).toEqual(bytes);
    expect(ranges()).toEqual([undefined]);
  });

  test("wrong bytes fail with both digests instead of ending", async () => {
    registry.fault("corrupt-blob");
    const error = await failureOf(read());
    expect(error.code).toBe("INTEGRITY");
    expect(error.message.match(/sha256:[0-9a-f]{64}/g)).toHaveLength(2);
  });

  test("more bytes than promised fail", async () => {
    registry.customFault("too many", {
      methods: ["GET"],
      path: /blobs/,
      intercept: () => ({ status: 200, body: [bytes, Buffer.from("and more")] }),
    });
    const error = await failureOf(read());
    expect(error.code).toBe("INTEGRITY");
    expect(error.message).toContain("1000000 bytes");
  });

  test("a login page instead of a blob fails", async () => {
    registry.fault("status", { status: 200, body: "<html>log in</html>", match: { path: /blobs/ } });
    const error = await failureOf(read());
    expect(["INTEGRITY", "NETWORK"]).toContain(error.code);
    expect(error.message).toContain(descriptor.digest);
  });
});

test("the connection of a HEAD is used again, however large the blob", async () => {
  await using server = await startRawServer((socket) => {
    socket.on("data", (request) => {
      // No request here has a body, and none is sent before the last one is answered.
      const length = request.toString("latin1").startsWith("HEAD") ? bytes.length : 0;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`);
    });
  });
  await using one = connectTo(server.host, { plainHttp: true });
  for (let index = 0; index < 10; index += 1) expect(await one.repository("a").has(descriptor)).toBe(true);
  // A connection may not be idle yet when the next request comes, so there may be two.
  expect(server.connections()).toBeLessThanOrEqual(2);
});
