import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { blobSource, connectTo, descriptorOf, failureOf, logged, type Watched } from "./support.ts";

const bytes = randomBytesOf("upload", 300_000);
const { digest } = descriptorOf(bytes);
const other = randomBytesOf("other", 300_000);

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
beforeEach(async () => {
  registry = await startRegistry({ dialect: "3" });
  watched = connectTo(registry, { plainHttp: true });
  repository = watched.repository("a/b");
});
afterEach(async () => {
  await watched[Symbol.asyncDispose]();
  await registry.close();
});

const statuses = (method: string): readonly number[] =>
  logged(registry, method, /uploads/).map(({ status }) => status);
const stored = (): Buffer | undefined => registry.blob("a/b", digest);

describe("a blob in one request", () => {
  test.each(["2.8", "3"] as const)(
    "goes by POST and PUT, with its length and type (dialect %s)",
    async (dialect) => {
      await using plain = await startRegistry({ dialect });
      await using own = connectTo(plain, { plainHttp: true });
      await own.repository("a/b").push(blobSource(bytes));
      expect(plain.blob("a/b", digest)).toEqual(bytes);
      expect(plain.requests.map(({ method }) => method)).toEqual(["GET", "POST", "PUT"]);
      const [, post, put] = plain.requests;
      expect(post?.headers["content-length"]).toBe("0");
      expect(put?.headers["content-length"]).toBe(`${bytes.length}`);
      expect(put?.headers["content-type"]).toBe("application/octet-stream");
      expect(put?.headers["transfer-encoding"]).toBeUndefined();
      expect(put?.headers["content-range"]).toBeUndefined();
      expect(plain.openUploads).toBe(0);
    },
  );

  test("of no bytes is stored too", async () => {
    const empty = Buffer.alloc(0);
    await repository.push(blobSource(empty));
    expect(registry.blob("a/b", descriptorOf(empty).digest)).toEqual(empty);
  });

  test("tells how far it is, up to its size", async () => {
    const seen: number[] = [];
    await repository.push(blobSource(bytes), { onProgress: (offset) => seen.push(offset) });
    expect(seen.at(-1)).toBe(bytes.length);
    expect([...seen].sort((a, b) => a - b)).toEqual(seen);
  });

  test.each([200, 202, 204])("is taken with a %i as well", async (status) => {
    registry.customFault("other status", {
      methods: ["PUT"],
      path: /uploads/,
      transform: (reply) => (reply.status === 201 ? { ...reply, status } : undefined),
    });
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
  });
});

describe("content that is wrong", () => {
  const wrong = Buffer.from(bytes);
  wrong.writeUInt8(wrong.readUInt8(150_000) ^ 1, 150_000);
  const cases: readonly (readonly [string, Buffer])[] = [
    ["a flipped bit", wrong],
    ["too short", bytes.subarray(0, 299_999)],
    ["nothing", Buffer.alloc(0)],
  ];

  test.each(cases)("never completes a PUT: %s", async (_name, content) => {
    for (const pieceBytes of [content.length + 1, 65_536, 1000]) {
      registry.resetLog();
      const source = blobSource(content, { descriptor: descriptorOf(bytes), pieceBytes });
      const error = await failureOf(repository.push(source));
      expect(["INTEGRITY", "NETWORK"]).toContain(error.code);
      expect(error.message).toContain(digest);
      expect(statuses("PUT")).not.toContain(201);
      for (const { bytesIn } of logged(registry, "PUT", /uploads/))
        expect(bytesIn).toBeLessThan(bytes.length);
      expect(stored()).toBeUndefined();
      expect(registry.blob("a/b", descriptorOf(content).digest)).toBeUndefined();
    }
  });

  test("behind the promised bytes is not sent", async () => {
    const content = Buffer.concat([bytes, Buffer.from("and more")]);
    await repository.push(blobSource(content, { descriptor: descriptorOf(bytes), pieceBytes: 1000 }));
    expect(stored()).toEqual(bytes);
    const source = blobSource(content, { descriptor: descriptorOf(bytes), pieceBytes: content.length });
    expect((await failureOf(watched.repository("c").push(source))).code).toBe("INTEGRITY");
    expect(registry.blob("c", digest)).toBeUndefined();
  });

  test("does not either when a piece of nothing comes last", async () => {
    const pieces = async function* (): AsyncGenerator<Uint8Array, void> {
      yield wrong;
      yield Buffer.alloc(0);
    };
    const source = { descriptor: descriptorOf(bytes), isManifest: false, open: async () => pieces() };
    expect((await failureOf(repository.push(source))).code).toBe("INTEGRITY");
    for (const { bytesIn } of logged(registry, "PUT", /uploads/)) expect(bytesIn).toBe(0);
  });

  test("of no bytes is found out as well", async () => {
    const descriptor = { ...descriptorOf(bytes), size: 0 };
    const error = await failureOf(repository.push(blobSource(Buffer.alloc(0), { descriptor })));
    expect(error.code).toBe("INTEGRITY");
    expect(statuses("PUT")).toEqual([]);
  });

  test("leaves no session behind", async () => {
    await failureOf(repository.push(blobSource(wrong, { descriptor: descriptorOf(bytes) })));
    await expect.poll(() => registry.openUploads).toBe(0);
  });
});

describe("what goes wrong on the way", () => {
  test("a lost session begins again", async () => {
    registry.fault("forget-uploads", { times: 2 });
    const seen: number[] = [];
    await repository.push(blobSource(bytes), { onProgress: (offset) => seen.push(offset) });
    expect(stored()).toEqual(bytes);
    expect(registry.count("POST", /uploads/)).toBe(3);
    expect(seen.filter((offset) => offset === 0)).toHaveLength(2);
    expect(watched.retries).toHaveLength(2);
  });

  test("one that is lost every time fails in the end", async () => {
    registry.fault("forget-uploads");
    const error = await failureOf(repository.push(blobSource(bytes)));
    expect(error.code).toBe("NOT_FOUND");
    expect(error.message).toContain("BLOB_UPLOAD_UNKNOWN");
    expect(registry.count("POST", /uploads/)).toBeLessThanOrEqual(5);
  });

  test("a connection that breaks in the body begins again, in a session of its own", async () => {
    registry.fault("drop-upload-after", { bytes: 100_000, times: 2 });
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
    expect(new Set(logged(registry, "PUT", /uploads/).map(({ path }) => path)).size).toBe(3);
    await expect.poll(() => registry.openUploads).toBe(0);
  });

  test.each([
    ["a cut", undefined],
    ["a 504 of a proxy", 504],
    ["a 502 of a proxy", 502],
  ])("an answer that gets lost after the whole body is asked for by HEAD: %s", async (_name, status) => {
    registry.customFault(
      "lost answer",
      {
        methods: ["PUT"],
        path: /uploads/,
        transform: (reply) =>
          status === undefined ? { ...reply, raw: (socket) => socket.destroy() } : { status },
      },
      { times: 1 },
    );
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
    expect(registry.count("HEAD", new RegExp(`/blobs/${digest}`))).toBe(1);
    expect(registry.count("POST", /uploads/)).toBe(1);
    // A session whose blob may just be on its way into the store is left alone.
    expect(registry.count("DELETE", /./)).toBe(0);
  });

  test("an answer that gets lost together with the blob begins again", async () => {
    registry.customFault(
      "lost blob",
      {
        methods: ["PUT"],
        path: /uploads/,
        transform: (reply) => ({ ...reply, raw: (socket) => socket.destroy() }),
      },
      { times: 1 },
    );
    registry.fault("status", { status: 404, times: 1, match: { method: "HEAD" } });
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
    expect(registry.count("POST", /uploads/)).toBe(2);
  });

  test("a blob that arrived damaged is sent again", async () => {
    registry.customFault(
      "damage",
      {
        methods: ["PUT"],
        path: /uploads/,
        intercept: (request) => {
          request.body = flipping(request.body);
          return "altered";
        },
      },
      { times: 1 },
    );
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
    expect(statuses("PUT")).toEqual([400, 201]);
  });

  test.each([400, 403, 405, 409])("a %i is final", async (status) => {
    registry.fault("status", { status, match: { method: "PUT" } });
    await failureOf(repository.push(blobSource(bytes)));
    expect(registry.count("PUT", /uploads/)).toBe(1);
    expect(watched.clock.sleeps).toEqual([]);
  });

  test("a repository that one may not write to is found out before any byte is sent", async () => {
    registry.fault("status", {
      status: 403,
      body: '{"errors":[{"code":"DENIED"}]}',
      match: { method: "POST" },
    });
    let opened = 0;
    const source = {
      ...blobSource(bytes),
      open: async () => Promise.reject(new Error(`opened ${(opened += 1)}`)),
    };
    expect((await failureOf(repository.push(source))).code).toBe("DENIED");
    expect(opened).toBe(0);
    expect(registry.count("POST", /uploads/)).toBe(1);
  });

  test("a source that breaks goes on where it stopped, in the same request", async () => {
    let opens = 0;
    const source = blobSource(bytes);
    const breaking = async function* (offset: number): AsyncGenerator<Uint8Array, void> {
      yield bytes.subarray(offset, offset + 100_000);
      if (offset + 100_000 < bytes.length) throw await failureOf(connectTo("127.0.0.1:1").client.connect());
    };
    await repository.push({
      ...source,
      open: async (offset) => {
        opens += 1;
        return breaking(offset);
      },
    });
    expect(stored()).toEqual(bytes);
    expect(opens).toBe(3);
    expect(registry.count("PUT", /uploads/)).toBe(1);
  });

  test("an interruption ends it at once, and closes the session", async () => {
    const controller = new AbortController();
    const stuck = async function* (): AsyncGenerator<Uint8Array, void> {
      yield bytes.subarray(0, 100_000);
      controller.abort();
      yield bytes.subarray(100_000);
    };
    const error = await failureOf(
      repository.push({ ...blobSource(bytes), open: async () => stuck() }, { signal: controller.signal }),
    );
    expect(error.code).toBe("INTERRUPTED");
    expect(stored()).toBeUndefined();
    await expect.poll(() => registry.openUploads).toBe(0);
  });

  test("a token that ends between the requests is renewed", async () => {
    const users = { ada: "s3cret" };
    await using closed = await startRegistry({ auth: { type: "bearer", users } });
    const credential = { username: "ada", password: "s3cret", origin: "x" };
    await using own = connectTo(closed, { plainHttp: true, credential });
    let first = true;
    const source = blobSource(bytes);
    await own.repository("a").push({
      ...source,
      open: async (offset) => {
        if (first) closed.expireTokens();
        first = false;
        return await source.open(offset);
      },
    });
    expect(closed.blob("a", digest)).toEqual(bytes);
  });

  test("blobs side by side do not get into each other's sessions", async () => {
    const all = Array.from({ length: 12 }, (_, index) => randomBytesOf(`side ${index}`, 100_000 + index));
    registry.fault("drop-upload-after", { bytes: 50_000, times: 3 });
    await Promise.all(all.map(async (content) => await repository.push(blobSource(content))));
    for (const content of all) expect(registry.blob("a/b", descriptorOf(content).digest)).toEqual(content);
    await repository.push(blobSource(other));
  });
});

async function* flipping(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of body) {
    const copy = Buffer.from(chunk);
    if (first) copy.writeUInt8(copy.readUInt8(0) ^ 1, 0);
    first = false;
    yield copy;
  }
}
