/** Rows 11, 30 to 33, 35, 36 and 38 of the fault list: blobs on their way out. */
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BlobSource } from "../../src/content/content.ts";
import { readBlob, resuming, verified } from "../../src/content/verify.ts";
import type { AppError } from "../../src/errors.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import type { RangeOddity } from "../registry/faults/blobs.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { collect, descriptorOf, failureOf, logged, type Watched } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type Connect, surviving } from "./support.ts";

const bytes = randomBytesOf("blob faults", 1_000_000);
const descriptor = descriptorOf(bytes);
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };

/** 200 MB of nothing. */
const bomb = gzipSync(Buffer.alloc(200_000_000));

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry();
  registry.putBlob("a", bytes);
});
afterEach(async () => await registry.close());

/** Reads a blob as a transfer does. */
async function read(watched: Watched, wanted: Descriptor = descriptor): Promise<Buffer> {
  const repository = watched.repository("a");
  const blob: BlobSource = {
    descriptor: wanted,
    isManifest: false,
    open: async (offset, signal) => await repository.open(wanted, { offset, signal }),
  };
  return await collect(verified(resuming(blob, { clock: watched.clock, onRetry: told(watched) }), wanted));
}
function told(watched: Watched): (attempt: number, delayMs: number, cause: AppError) => void {
  return (attempt, delayMs, cause) => watched.client.retrying("copy", attempt, delayMs, cause);
}
/** The same with the one second try that copies and small reads make of content that is wrong. */
async function readTwice(watched: Watched, wanted: Descriptor = descriptor): Promise<Buffer> {
  return await read(watched, wanted).catch(async () => await read(watched, wanted));
}
/** Of megabytes, a difference is of no use in a message, and slow to make. */
function expectSame(got: Buffer, wanted: Buffer): void {
  expect(got.equals(wanted)).toBe(true);
}
const again = async (connect: Connect): Promise<void> => {
  expectSame(await read(connect(registry, { plainHttp: true })), bytes);
};
const plain = async <T>(run: (watched: Watched) => Promise<T>): Promise<T> =>
  await surviving({ registries: [registry], again }, async (connect) =>
    run(connect(registry, { plainHttp: true })),
  );
const ranges = (): readonly (string | undefined)[] =>
  logged(registry, "GET", /blobs/).map(({ headers }) => headers.range);
const sent = (): number => logged(registry, "GET", /blobs/).reduce((sum, { bytesOut }) => sum + bytesOut, 0);

test("row 11: a redirect to storage carries the range and identity, and no credential", async () => {
  await using closed = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret-word" } } });
  closed.putBlob("a", bytes);
  closed.fault("redirect-blobs");
  closed.fault("drop-body-after", { bytes: 300_000, times: 1 });
  await surviving({ registries: [closed] }, async (connect) => {
    expectSame(await read(connect(closed, { plainHttp: true, credential })), bytes);
  });
  const atStorage = closed.requests.filter(({ origin }) => origin === "storage");
  expect(atStorage.map(({ headers }) => headers.range)).toEqual([undefined, "bytes=300000-999999"]);
  for (const { headers } of atStorage) {
    expect(headers["accept-encoding"]).toBe("identity");
    expect(headers.authorization).toBeUndefined();
    expect(headers.cookie).toBeUndefined();
    expect(headers["proxy-authorization"]).toBeUndefined();
  }
});

test("row 30: a connection that drops again and again is gone on from with closed ranges, at once", async () => {
  registry.fault("drop-body-after", { bytes: 30_000 });
  await surviving({ registries: [registry], again }, async (connect) => {
    const watched = connect(registry, { plainHttp: true });
    expectSame(await read(watched), bytes);
    expect(sent()).toBe(bytes.length);
    expect(ranges().slice(0, 3)).toEqual([undefined, "bytes=30000-999999", "bytes=60000-999999"]);
    expect(watched.clock.sleeps).toEqual([]);
    // 33 breaks: the first one and the tenth are told.
    expect(watched.retries).toHaveLength(2);
  });
});

test("row 30: a connection that hardly moves is given time", async () => {
  registry.fault("drop-body-after", { bytes: 10_000, times: 5 });
  await plain(async (watched) => {
    expectSame(await read(watched), bytes);
    expect(watched.clock.sleeps).toHaveLength(5);
    expect(sent()).toBe(bytes.length);
  });
});

test("row 31: a whole body in the place of a range is read and dropped up to the offset", async () => {
  registry.fault("drop-body-after", { bytes: 300_000, times: 2 });
  registry.fault("ignore-range");
  await plain(async (watched) => expectSame(await read(watched), bytes));
});

test.each(["start", "total", "unknown", "none", "length", "multipart"] satisfies RangeOddity[])(
  "row 31: another range is never spliced in, the whole is read, and ranges are no longer asked for: %s",
  async (kind) => {
    registry.fault("drop-body-after", { bytes: 300_000, times: 1 });
    registry.fault("odd-range", { kind });
    await plain(async (watched) => {
      expectSame(await read(watched), bytes);
      expect(ranges()).toEqual([undefined, "bytes=300000-999999", undefined]);
      const repository = watched.repository("a");
      await collect(await repository.open(descriptor, { offset: 1 }));
      await collect(await repository.open(descriptor, { offset: 2 }));
      expect(ranges().slice(3)).toEqual(["bytes=1-999999", undefined, undefined]);
    });
  },
);

test("row 31: shorter ranges than asked for are no failure", async () => {
  registry.fault("drop-body-after", { bytes: 500_000, times: 1 });
  registry.fault("odd-range", { kind: "shorter", bytes: 100_000 });
  await surviving({ registries: [registry], again }, async (connect) => {
    const watched = connect(registry, { plainHttp: true });
    expectSame(await read(watched), bytes);
    expect(ranges()).toHaveLength(6);
    expect(sent()).toBe(bytes.length);
    expect(watched.retries).toHaveLength(1);
    expect(watched.clock.sleeps).toEqual([]);
  });
});

test("row 32: ranges are asked for with an end, where open ones are refused", async () => {
  registry.fault("drop-body-after", { bytes: 300_000, times: 1 });
  registry.fault("refuse-ranges", { only: "open" });
  await plain(async (watched) => expectSame(await read(watched), bytes));
  expect(ranges().slice(0, 2)).toEqual([undefined, "bytes=300000-999999"]);
});

test("row 32: the body that a 416 promises is not waited for, the whole is read", async () => {
  registry.fault("drop-body-after", { bytes: 300_000, times: 1 });
  registry.fault("refuse-ranges");
  await plain(async (watched) => {
    expectSame(await read(watched), bytes);
    expect(ranges()).toEqual([undefined, "bytes=300000-999999", undefined]);
  });
});

test("row 33: a short body without a length is found out and gone on from", async () => {
  registry.fault("unframed-body", { bytes: 400_000, times: 1 });
  await plain(async (watched) => expectSame(await read(watched), bytes));
  expect(ranges().slice(0, 2)).toEqual([undefined, "bytes=400000-999999"]);
});

test.each([
  ["gzip", true],
  ["gzip", false],
  ["x-gzip", true],
  ["x-gzip", false],
] as const)(
  "row 35: a layer that is %s by itself and labelled so stays as it is (length: %s)",
  async (coding, length) => {
    const small = gzipSync(randomBytesOf("layer", 200_000));
    const large = gzipSync(randomBytesOf("layer", 5_000_000), { level: 1 });
    for (const layer of [small, large]) registry.putBlob("a", layer);
    registry.fault("encode-blob", { coding, length });
    registry.fault("drop-body-after", { bytes: 100_000, times: 1 });
    await plain(async (watched) => {
      expectSame(await read(watched, descriptorOf(large)), large);
      expectSame(await read(watched, descriptorOf(small)), small);
    });
    // A labelled body is never gone on from in the middle.
    expect(ranges().every((range) => range === undefined)).toBe(true);
  },
);

test.each([
  ["gzip", true],
  ["x-gzip", false],
  ["deflate", false],
  ["br", false],
  ["zstd", false],
  ["zstd", true],
] as const)("row 35: what is really encoded with %s is decoded (length: %s)", async (coding, length) => {
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", more: "x".repeat(5000) }));
  const large = Buffer.alloc(6_000_000, "all the same and therefore short ");
  for (const content of [config, large]) registry.putBlob("a", content);
  registry.fault("encode-blob", { coding, length, really: true });
  await plain(async (watched) => {
    // Small content is decided at once; large content without a length takes the second try.
    expectSame(await read(watched, descriptorOf(config)), config);
    expectSame(await readTwice(watched, descriptorOf(large)), large);
    expect(registry.count("GET", /blobs/)).toBe(length ? 2 : 3);
  });
});

test("row 35: encoded content that breaks off starts anew", async () => {
  const large = Buffer.concat([randomBytesOf("half", 3_000_000), Buffer.alloc(3_000_000)]);
  registry.putBlob("a", large);
  registry.fault("encode-blob", { really: true, length: true });
  registry.fault("drop-body-after", { bytes: 1_000_000, times: 2 });
  await plain(async (watched) => {
    expectSame(await read(watched, descriptorOf(large)), large);
    expect(ranges()).toEqual([undefined, undefined, undefined]);
  });
});

test.each([
  ["small", 2000, true],
  ["small", 2000, false],
  ["large", 5_000_000, true],
  ["large", 5_000_000, false],
] as const)(
  "row 35: a %s bomb is cut at the size of the blob (%i, length: %s)",
  async (_name, size, length) => {
    const content = randomBytesOf("bombed", size);
    registry.putBlob("a", content);
    registry.fault("encode-blob", { really: true, length, body: bomb });
    const before = process.memoryUsage().rss;
    const error = await plain(async (watched) => await failureOf(readTwice(watched, descriptorOf(content))));
    expect(error.code).toBe("INTEGRITY");
    expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000);
  },
);

test("row 36: a signature that is over is renewed by the registry", async () => {
  registry.fault("redirect-blobs");
  registry.fault("drop-body-after", { bytes: 300_000, times: 1 });
  registry.fault("expired-signature", { skip: 1, times: 2 });
  await plain(async (watched) => {
    expectSame(await read(watched), bytes);
    expect(watched.clock.sleeps).toEqual([]);
  });
  const asked = registry.requests.filter(({ path }) => /blobs/.test(path)).map(({ origin }) => origin);
  const once = ["registry", "storage"];
  expect(asked.slice(0, 8)).toEqual([...once, ...once, ...once, ...once]);
});

test("row 36: storage that refuses every signature is named, and the signature is not", async () => {
  registry.fault("redirect-blobs");
  registry.fault("expired-signature");
  const error = await plain(async (watched) => await failureOf(read(watched)));
  const storage = registry.requests.find(({ origin }) => origin === "storage");
  expect(error.code).toBe("DENIED");
  expect(error.message).toContain(`${storage?.headers.host} answered 403`);
  expect(error.message).not.toContain("signature");
  expect(registry.requests.filter(({ origin }) => origin === "storage").length).toBeLessThan(5);
});

test("row 38: a corrupt byte once is one clean second try", async () => {
  registry.fault("corrupt-blob", { times: 1 });
  const content = await plain(
    async (watched) => await readBlob(watched.repository("a"), descriptor, bytes.length, watched),
  );
  expectSame(content, bytes);
  expect(ranges().slice(0, 2)).toEqual([undefined, undefined]);
});

test("row 38: a corrupt byte every time fails with both digests", async () => {
  registry.fault("corrupt-blob");
  const error = await plain(
    async (watched) => await failureOf(readBlob(watched.repository("a"), descriptor, bytes.length, watched)),
  );
  expect(error.code).toBe("INTEGRITY");
  expect(error.message.match(/sha256:[0-9a-f]{64}/g)).toHaveLength(2);
  expect(error.message).toContain(descriptor.digest);
  expect(error.hint).toBeUndefined();
  expect(registry.count("GET", /blobs/)).toBe(2 + 1);
});

test.each([true, false])(
  "row 38: a web page in the place of a blob is told as one (length: %s)",
  async (length) => {
    registry.fault("web-page", { length });
    const error = await plain(async (watched) => await failureOf(read(watched)));
    expect(error.code).toMatch(/INTEGRITY|NETWORK/);
    expect(error.hint).toContain("login page");
  },
);

test.each([
  ["a web page", "<!doctype html><p>no", "application/octet-stream"],
  ["XML", '<?xml version="1.0"?><Error/>', "application/octet-stream"],
  ["JSON", '{"errors":[]}', "application/octet-stream"],
  ["gzip", gzipSync("x"), "application/vnd.oci.image.config.v1+json"],
])("row 38: the hint says what wrong content looks like: %s", async (name, came, mediaType) => {
  const wrong = Buffer.from(came);
  const wanted = { ...descriptorOf(randomBytesOf("wanted", wrong.length)), mediaType };
  registry.fault("status", { status: 200, body: wrong, match: { path: /blobs/ } });
  const error = await plain(async (watched) => await failureOf(read(watched, wanted)));
  expect(error.hint).toContain(name);
});

test("row 38: an answer of another length fails before its content is read", async () => {
  const other = Buffer.concat([bytes, bytes]);
  registry.fault("status", { status: 200, body: other, match: { path: /blobs/ } });
  const error = await plain(async (watched) => await failureOf(read(watched)));
  expect(error.code).toBe("INTEGRITY");
  expect(error.message).toContain(`${other.length} bytes`);
});

test.each([403, 405, 501])(
  "a blob whose redirect is signed for GET only is there, though HEAD of it answers %i",
  async (status) => {
    registry.fault("redirect-blobs");
    registry.fault("signed-for-get", { status });
    await plain(async (watched) => {
      expect(await watched.repository("a").has(descriptor)).toBe(true);
      expect(await watched.repository("a").has(descriptorOf(Buffer.from("absent")))).toBe(false);
    });
  },
);
