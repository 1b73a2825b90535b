import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, connectTo, descriptorOf, failureOf, logged, piecesOf, type Watched } from "./support.ts";

const bytes = randomBytesOf("upload", 300_000);
const { digest } = descriptorOf(bytes);

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
eachTest(
  async () => await startConnected("a/b", { dialect: "3" }),
  (made) => {
    ({ registry, watched, repository } = made);
  },
);

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

  test("in many small pieces keeps nothing of those that are sent", async () => {
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const used: number[] = [];
    const measure = (): void => {
      collectGarbage();
      used.push(process.memoryUsage().heapUsed);
    };
    const open = async function* (): AsyncGenerator<Uint8Array, void> {
      measure();
      yield* piecesOf(bytes.subarray(0, -6), 6);
      measure();
      yield bytes.subarray(-6);
    };
    await repository.push({ ...blobSource(bytes), open: async () => open() });
    expect(registry.blob("a/b", digest)).toEqual(bytes);
    const [before = 0, after = Infinity] = used;
    // 50,000 pieces, of which 300 bytes each would be 15 MB.
    expect(after - before).toBeLessThan(5_000_000);
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
