/** Content that goes by and gets its name at its end, stored in a repository. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PassingContent } from "../../src/content/passing-content.ts";
import { AppError } from "../../src/errors.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { connectTo, descriptorOf, failureOf, logged, piecesOf, type Watched } from "./support.ts";

const bytes = randomBytesOf("stage", 3_500_000);
const { digest } = descriptorOf(bytes);

let registry: TestRegistry;
let watched: Watched;
beforeEach(async () => {
  registry = await startRegistry({ dialect: "3" });
  watched = connectTo(registry, { plainHttp: true });
});
afterEach(async () => {
  await watched[Symbol.asyncDispose]();
  await registry.close();
});

/** The content, which goes back 1.5 MB and no further; `opened` notes where it was opened. */
function passing(opened: number[] = []): PassingContent {
  let stored = 0;
  return {
    name: "a/layer.tar",
    size: bytes.byteLength,
    replayBytes: 1_500_000,
    open: async (offset) => {
      opened.push(offset);
      if (offset < stored) throw new AppError("NOT_FOUND", "it has gone by");
      return piecesOf(bytes.subarray(offset), 70_000);
    },
    onStored: (offset) => {
      stored = offset;
    },
    digest: async () => digest,
  };
}
const stored = (): Buffer | undefined => registry.blob("a/b", digest);
const sent = (method: string): readonly number[] =>
  logged(registry, method, /uploads/).map(({ bytesIn }) => bytesIn);

test("it goes in chunks that can be sent again, the last one with its name", async () => {
  const seen: number[] = [];
  await watched.repository("a/b").stage(passing(), { onProgress: (offset) => seen.push(offset) });
  expect(stored()?.equals(bytes)).toBe(true);
  expect(sent("PATCH")).toEqual([1_500_000, 1_500_000]);
  expect(sent("PUT")).toEqual([500_000]);
  expect(seen.at(-1)).toBe(bytes.byteLength);
  expect(registry.count("HEAD", /./)).toBe(0);
});

test("what is wrong with it is found before it is stored, and its upload is cancelled", async () => {
  const wrong = new AppError("INTEGRITY", "Cannot read a/layer.tar: it is damaged");
  const content = { ...passing(), digest: async () => await Promise.reject(wrong) };
  expect(await failureOf(watched.repository("a/b").stage(content))).toBe(wrong);
  expect(stored()).toBeUndefined();
  await expect.poll(() => registry.openUploads).toBe(0);
});

test("a connection that breaks in a chunk has that chunk sent again", async () => {
  registry.fault("drop-upload-after", { bytes: 300_000, skip: 1, times: 2, match: { method: "PATCH" } });
  const opened: number[] = [];
  await watched.repository("a/b").stage(passing(opened));
  expect(stored()?.equals(bytes)).toBe(true);
  expect(opened.slice(1).every((offset) => offset >= 1_500_000)).toBe(true);
});

test("one that cannot go back far enough fails with what its giver says", async () => {
  registry.fault("forget-uploads", { skip: 1, times: 1 });
  const error = await failureOf(watched.repository("a/b").stage(passing()));
  expect(error.message).toBe("it has gone by");
  expect(stored()).toBeUndefined();
});

test("an answer that gets lost at the end does not have it sent again", async () => {
  registry.fault("lost-answer", { times: 1, match: { method: "PUT" } });
  await watched.repository("a/b").stage(passing());
  expect(stored()?.equals(bytes)).toBe(true);
  expect(sent("PUT")).toHaveLength(1);
});

test("a registry that takes content in PATCH only gets all of it so", async () => {
  watched.client.manners.contentInPutRefused();
  await watched.repository("a/b").stage(passing());
  expect(stored()?.equals(bytes)).toBe(true);
  expect(sent("PATCH")).toEqual([1_500_000, 1_500_000, 500_000]);
  expect(sent("PUT")).toEqual([0]);
});

test("messages call it what it is called", async () => {
  registry.fault("status", { status: 507, match: { method: "PATCH" } });
  const error = await failureOf(watched.repository("a/b").stage(passing()));
  expect(error.message).toContain(`upload a/layer.tar to ${registry.host}/a/b`);
});
