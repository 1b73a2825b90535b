/** The faults of uploads do what they say. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";

const bytes = Buffer.alloc(100_000, "fault");
const digest = digestOf(bytes);

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry({ dialect: "3" });
});
afterEach(async () => await registry.close());

async function open(query = ""): Promise<Response> {
  return await fetch(`${registry.url}/v2/a/blobs/uploads/${query}`, { method: "POST" });
}

/** Opens a session and sends all bytes to it. */
async function send(
  method: "PATCH" | "PUT",
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const location = (await open()).headers.get("location") ?? "";
  const url = method === "PUT" ? `${location}&digest=${digest}` : location;
  const type = { "content-type": "application/octet-stream" };
  return await fetch(url, { method, body: bytes, headers: { ...type, ...headers } });
}

test("other-location changes it, or leaves it out with or without the id", async () => {
  const fault = registry.fault("other-location", { change: () => "/elsewhere" });
  expect((await open()).headers.get("location")).toBe("/elsewhere");
  fault.remove();
  registry.fault("other-location", { times: 1 });
  const bare = await open();
  expect([bare.headers.get("location"), bare.headers.get("docker-upload-uuid")]).toEqual([null, null]);
  registry.fault("other-location", { keepId: true });
  expect((await open()).headers.get("docker-upload-uuid")).not.toBeNull();
});

test("odd-chunk-answer has another status and Range", async () => {
  registry.fault("odd-chunk-answer", { range: "0-1" });
  const answer = await send("PATCH");
  expect([answer.status, answer.headers.get("range")]).toEqual([201, "0-1"]);
});

test("odd-put-answer stores the blob, or loses it", async () => {
  registry.fault("odd-put-answer", { lost: true, times: 1 });
  expect((await send("PUT")).status).toBe(202);
  expect(registry.blob("a", digest)).toBeUndefined();
  registry.clearFaults();
  registry.fault("odd-put-answer", { status: 204 });
  expect((await send("PUT")).status).toBe(204);
  expect(registry.blob("a", digest)).toEqual(bytes);
});

test("lost-answer stores the blob and breaks, or answers with a status", async () => {
  registry.fault("lost-answer", { times: 1 });
  await expect(send("PUT")).rejects.toThrow();
  expect(registry.blob("a", digest)).toEqual(bytes);
  registry.fault("lost-answer", { status: 504 });
  expect((await send("PUT")).status).toBe(504);
});

test("damage-upload is found out by the digest", async () => {
  registry.fault("damage-upload");
  expect((await send("PUT")).status).toBe(400);
});

test("lying-mount mounts nothing", async () => {
  registry.fault("lying-mount");
  expect((await open(`?mount=${digest}&from=b`)).status).toBe(201);
  expect(registry.blob("a", digest)).toBeUndefined();
});

test("misplaced-chunk takes a part and tells where it stands, unless it is bare", async () => {
  registry.fault("misplaced-chunk", { bytes: 500, times: 1 });
  const told = await send("PATCH");
  expect([told.status, told.headers.get("range")]).toEqual([416, "0-499"]);
  registry.fault("misplaced-chunk", { bare: true });
  expect((await send("PATCH")).headers.get("range")).toBeNull();
});

test("body-reset breaks what is too large", async () => {
  registry.fault("body-reset", { bytes: 100_000 });
  expect((await send("PATCH")).status).toBe(202);
  registry.fault("body-reset", { bytes: 99_999 });
  await expect(send("PATCH")).rejects.toThrow();
});

test.each([
  ["chunk-limit", "PATCH", 99_999, 416],
  ["chunk-limit", "PUT", 99_999, 201],
  ["whole-limit", "PUT", 99_999, 413],
  ["whole-limit", "PATCH", 99_999, 202],
  ["small-chunks-refused", "PATCH", 100_001, 400],
  ["small-chunks-refused", "PUT", 100_001, 201],
] as const)("%s answers a %s over or under %i bytes with %i", async (name, method, limit, status) => {
  registry.fault(name, { bytes: limit });
  expect((await send(method)).status).toBe(status);
});

test("chunk-minimum is told by the answer that opens an upload", async () => {
  registry.fault("chunk-minimum", { bytes: 17 });
  expect((await open()).headers.get("oci-chunk-min-length")).toBe("17");
});

test("rfc-range-refused takes distribution's form", async () => {
  registry.fault("rfc-range-refused");
  expect((await send("PATCH", { "content-range": "bytes 0-99999/100000" })).status).toBe(400);
  expect((await send("PATCH", { "content-range": "0-99999" })).status).toBe(202);
});

test("stall-upload keeps what it has taken, and the sender waiting", async () => {
  const stalled = new Promise<void>((onStall) => {
    registry.fault("stall-upload", { bytes: 40_000, onStall, match: { method: "PATCH" } });
  });
  const location = (await open()).headers.get("location") ?? "";
  const stop = new AbortController();
  const type = { "content-type": "application/octet-stream" };
  const sent = fetch(location, { method: "PATCH", body: bytes, headers: type, signal: stop.signal });
  await stalled;
  stop.abort();
  await expect(sent).rejects.toThrow("abort");
  const state = await fetch(location);
  expect([state.status, state.headers.get("range")]).toEqual([204, "0-39999"]);
});
