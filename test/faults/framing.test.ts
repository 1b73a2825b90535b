/** Rows 34 and 37 of the fault list: bodies that are not framed as they should be, and servers that stall. */
import { describe, expect, test } from "vitest";
import type { FaultName } from "../registry/faults.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { startRawServer } from "../registry-client/raw-server.ts";
import { blobSource, collect, descriptorOf, failureOf } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type Connect, fetchBlob, surviving } from "./support.ts";

const bytes = randomBytesOf("framing rows", 200_000);
const descriptor = descriptorOf(bytes);

/** The blob from a registry, with the retries of a transfer. */
async function fetch(connect: Connect, registry: TestRegistry, options: Parameters<Connect>[1] = {}) {
  return await fetchBlob(connect, registry, descriptor, options);
}

describe("framing", () => {
  test.each<[FaultName]>([["length-too-large"], ["length-and-chunks"], ["chunks-without-end"]])(
    "row 34: %s is a broken transfer, and tried again",
    async (name) => {
      await using registry = await startRegistry();
      registry.putBlob("a", bytes);
      const fault = registry.fault(name, { times: 1 });
      const again = async (connect: Connect) => expect(await fetch(connect, registry)).toEqual(bytes);
      const got = await surviving({ registries: [registry], again }, (connect) => fetch(connect, registry));
      expect(got).toEqual(bytes);
      expect(fault.hits).toBe(1);
    },
  );

  test("row 34: bytes behind the content are no part of it, nor of the next answer", async () => {
    await using registry = await startRegistry();
    registry.putBlob("a", bytes);
    registry.fault("extra-bytes");
    const got = await surviving({ registries: [registry] }, async (connect) => {
      const repository = connect(registry, { plainHttp: true }).repository("a");
      const read = async () => await collect(await repository.open(descriptor));
      return [await read(), await read(), await read()];
    });
    expect(got).toEqual([bytes, bytes, bytes]);
  });
});

describe("stalls", () => {
  /** What trickles is under this; what is silent runs into `idleMs`, which only some tests make short. */
  const timeouts = { stallWindowMs: 100, stallBytes: 1024 };

  test.each<[string, FaultName, object, object]>([
    ["a trickle", "trickle", { first: 70_000, everyMs: 10 }, {}],
    ["silence", "stall", { first: 70_000 }, { idleMs: 100 }],
  ])(
    "row 37: %s in the middle of a blob is given up, and gone on from where it was",
    async (_name, name, options, idle) => {
      await using registry = await startRegistry();
      registry.putBlob("a", bytes);
      registry.fault(name, { ...options, times: 1 });
      const again = async (connect: Connect) => expect(await fetch(connect, registry)).toEqual(bytes);
      const got = await surviving({ registries: [registry], again }, (connect) =>
        fetch(connect, registry, { timeouts: { ...timeouts, ...idle } }),
      );
      expect(got).toEqual(bytes);
      const ranges = registry.requests.flatMap(({ headers }) => headers.range ?? []);
      expect(ranges[0]).toMatch(/^bytes=7\d{4}-199999$/);
    },
  );

  test.each<[FaultName, object, object, RegExp]>([
    ["trickle", { first: 1000, everyMs: 10 }, {}, /the transfer has stalled/],
    ["stall", { first: 1000 }, { idleMs: 100 }, /no data came for too long/],
  ])("row 37: what is said of it: %s", async (name, options, idle, message) => {
    await using registry = await startRegistry();
    registry.putBlob("a", bytes);
    registry.fault(name, options);
    const error = await surviving({ registries: [registry] }, async (connect) => {
      const repository = connect(registry, {
        plainHttp: true,
        timeouts: { ...timeouts, ...idle },
      }).repository("a");
      return await failureOf(collect(await repository.open(descriptor)));
    });
    expect(error.code).toBe("NETWORK");
    expect(error.message).toMatch(message);
  });

  test("row 37: a small answer that trickles is given up as well", async () => {
    await using server = await startRawServer((socket) => {
      socket.on("data", (request) => {
        if (String(request).startsWith("GET /v2/ ")) {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
          return;
        }
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        const timer = setInterval(() => socket.write("x"), 10);
        socket.on("close", () => clearInterval(timer));
      });
    });
    const error = await surviving({ registries: [] }, async (connect) =>
      failureOf(connect(server.host, { plainHttp: true, timeouts }).repository("a").manifest("v1")),
    );
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain("stalled");
  });

  test("row 37: a registry that takes the request and never answers", async () => {
    await using registry = await startRegistry();
    registry.putBlob("a", bytes);
    registry.fault("slow", { match: { path: /blobs|manifests/ } });
    const errors = await surviving({ registries: [registry] }, async (connect) => {
      const repository = connect(registry, { plainHttp: true, timeouts: { headersMs: 60 } }).repository("a");
      return [await failureOf(repository.open(descriptor)), await failureOf(repository.resolve("v1"))];
    });
    for (const error of errors) {
      expect(error.code).toBe("NETWORK");
      expect(error.message).toContain("did not answer in time");
    }
  });

  test("row 37: a registry that takes nothing of an upload", async () => {
    const big = randomBytesOf("not taken", 20_000_000);
    await using server = await startRawServer((socket) => {
      socket.once("data", (request) => {
        const [, method] = /^(\w+) /.exec(String(request)) ?? [];
        if (method === "POST")
          socket.end(
            "HTTP/1.1 202 Accepted\r\nlocation: /v2/a/blobs/uploads/1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
          );
        else if (method === "GET")
          socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        else if (method === "HEAD") socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n");
        else socket.pause();
      });
    });
    const error = await surviving({ registries: [] }, async (connect) =>
      failureOf(
        connect(server.host, { plainHttp: true, timeouts: { idleMs: 150 } })
          .repository("a")
          .push(blobSource(big)),
      ),
    );
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain("it took no data for too long");
  });

  test("row 37: our own slowness is no stall", async () => {
    // More than the two buffers of a connection hold.
    const big = randomBytesOf("own slowness", 4_000_000);
    await using registry = await startRegistry();
    registry.putBlob("a", big);
    const timeouts = { stallWindowMs: 1000, stallBytes: 1e9, idleMs: 600 };
    const got = await surviving({ registries: [registry] }, async (connect) => {
      const repository = connect(registry, { plainHttp: true, timeouts }).repository("a");
      const chunks: Buffer[] = [];
      for await (const chunk of await repository.open(descriptorOf(big))) {
        // Longer than either of them: this is what must not count, so it has to be real time.
        if (chunks.length === 0) await new Promise((resolve) => setTimeout(resolve, 1200));
        chunks.push(Buffer.from(chunk));
      }
      return Buffer.concat(chunks);
    });
    expect(got.equals(big)).toBe(true);
  });
});
