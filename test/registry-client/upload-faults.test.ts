import { describe, expect, test } from "vitest";
import { AppError } from "../../src/errors.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { flippedFirst } from "../registry/faults/uploads.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, connectTo, descriptorOf, failureOf, logged, piecesOf, type Watched } from "./support.ts";

const bytes = randomBytesOf("upload faults", 300_000);
const { digest } = descriptorOf(bytes);
const other = randomBytesOf("other", 300_000);

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

  test("an answer that gets lost after a PUT without content does not have the blob sent again", async () => {
    // What the registry has shown before: it takes content in PATCH only.
    watched.client.manners.contentInPutRefused();
    registry.fault("lost-answer", { times: 1, match: { method: "PUT" } });
    await repository.push(blobSource(bytes));
    expect(stored()).toEqual(bytes);
    expect(statuses("PATCH")).toEqual([202]);
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
          request.body = flippedFirst(request.body);
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
    let opened = false;
    const source = {
      ...blobSource(bytes),
      open: async () => {
        opened = true;
        throw new Error("it was opened");
      },
    };
    expect((await failureOf(repository.push(source))).code).toBe("DENIED");
    expect(opened).toBe(false);
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

  test("a source that is gone ends it, and nobody asks for a blob that cannot have arrived", async () => {
    const gone = new AppError("NETWORK", "Cannot read it: the connection was refused");
    const open = async (offset: number): Promise<AsyncIterable<Uint8Array>> => {
      if (offset > 0) throw gone;
      return piecesOf(bytes.subarray(0, 100_000), 1000);
    };
    await expect(repository.push({ ...blobSource(bytes), open })).rejects.toBe(gone);
    expect(registry.count("HEAD", /./)).toBe(0);
    expect(stored()).toBeUndefined();
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
