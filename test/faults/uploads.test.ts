/** Rows 7, 39 to 42 and 47 of the fault list: locations, mounts, what chunks are answered, offsets, two at a time. */
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { blobSource, descriptorOf, failureOf, logged } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Connect, surviving } from "./support.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const bytes = randomBytesOf("rows", 3 * MiB);
const { digest } = descriptorOf(bytes);
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };
const users = { ada: "s3cret-word" };
const plainHttp = true;

let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

/** The same push without faults, under another name, by a new client. */
const again = async (connect: Connect, host: Parameters<Connect>[0], options = {}): Promise<unknown> =>
  await connect(host, { plainHttp, ...options })
    .repository("again")
    .push(blobSource(bytes));

test.each([
  ["the closing PUT", 1],
  ["a chunk in the middle", 0],
])("row 7: the token ends before %s", async (_name, skip) => {
  await using registry = await startRegistry({ auth: { type: "bearer", users } });
  registry.customFault(
    "expire",
    {
      methods: ["PATCH"],
      path: /uploads/,
      transform: (reply) => {
        registry.expireTokens();
        return reply;
      },
    },
    { times: 1, skip },
  );
  await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp, credential, chunkBytes: 1_200_000 });
    await watched.repository("a").push(blobSource(bytes));
    expect(watched.retries).toEqual([]);
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  // The same request again, in the same session: nothing that was taken is sent twice.
  expect(registry.count("POST", /uploads/)).toBe(1);
  const sent = [...logged(registry, "PATCH", /./), ...logged(registry, "PUT", /./)];
  expect(sent.filter(({ status }) => status === 401)).toHaveLength(1);
  expect(sent.filter(({ status }) => status < 300)).toHaveLength(3);
});

test("row 7: a token that is refused every time ends it", async () => {
  await using registry = await startRegistry({ auth: { type: "bearer", users } });
  registry.fault("status", {
    status: 401,
    headers: { "www-authenticate": `Bearer realm="${registry.url}/nowhere"` },
    match: { method: "PUT" },
    beforeAuth: true,
  });
  await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp, credential });
    return await failureOf(watched.repository("a").push(blobSource(bytes)));
  });
  expect(registry.count("PUT", /./)).toBeLessThanOrEqual(2);
});

const locations: readonly (readonly [string, (location: string) => string | undefined])[] = [
  ["absolute http on an https host", (location) => location.replace(/^https:/, "http:")],
  ["relative", (location) => new URL(location).pathname + new URL(location).search],
  ["relative to the path", (location) => location.replace(/^.*\/uploads\//, "")],
  ["without a query", (location) => location.replace(/\?.*$/, "")],
  ["without the port", (location) => location.replace(/:\d+\//, "/")],
];
test.each(locations)("row 39: a Location that is %s", async (_name, change) => {
  await using registry = await startRegistry({ dialect: "3", tls: certificates.server });
  registry.fault("other-location", { change });
  const options = { ca: [certificates.ca.cert], chunkBytes: MiB, plainHttp: false };
  const warnings = await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry, options) },
    async (connect) => {
      const watched = connect(registry, options);
      await watched.repository("a").push(blobSource(bytes));
      await watched.repository("b").push(blobSource(bytes));
      return watched.warnings;
    },
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.blob("b", digest)?.equals(bytes)).toBe(true);
  // Once for the host, and only where the scheme was wrong.
  expect(warnings).toHaveLength(_name.startsWith("absolute http") ? 1 : 0);
});

test("row 39: without a Location the id of the upload leads on", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("other-location", { keepId: true });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) =>
      await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});

test.each<readonly [string, (location: string) => string | undefined]>([
  ["is missing, as is the id", () => undefined],
  ["has userinfo", (location) => location.replace("//", "//eve:h1dden-word@")],
  ["has a fragment", (location) => `${location}#part`],
  ["leads into the cloud", () => "http://169.254.169.254/latest"],
])("row 39: a Location that %s is refused", async (_name, change) => {
  await using registry = await startRegistry();
  registry.fault("other-location", { change });
  const secrets = ["h1dden-word"];
  await surviving(
    { registries: [registry], secrets, again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const error = await failureOf(connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)));
      expect(error.code).toBe("REGISTRY");
      return error;
    },
  );
  expect(registry.count("PUT", /./)).toBe(1);
});

test("row 39: another host of the same scheme is followed, without credentials", async () => {
  await using other = await startRegistry({ dialect: "3" });
  await using registry = await startRegistry({ auth: { type: "basic", users } });
  registry.fault("other-location", { change: () => `${other.url}/v2/a/blobs/uploads/` });
  // The other host opens its own session: what counts here is whom the content and the credential reach.
  other.customFault("take all", {
    methods: ["PUT"],
    path: /uploads\/$/,
    intercept: async (request) => {
      for await (const _ of request.body);
      return { status: 201 };
    },
  });
  await surviving({ registries: [registry, other] }, async (connect) => {
    await connect(registry, { plainHttp, credential }).repository("a").push(blobSource(bytes));
  });
  expect(other.requests.map(({ method }) => method)).toEqual(["PUT"]);
  expect(other.requests[0]?.headers.authorization).toBeUndefined();
});

test.each([202, 401, 403, 404, 405, 500])("row 40: a mount answered with %i", async (status) => {
  await using registry = await startRegistry({ auth: { type: "bearer", users } });
  registry.putBlob("from/here", bytes);
  registry.fault("refuse-mount", { status });
  await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp, credential });
    const repository = watched.repository("a");
    expect(await repository.mount(descriptorOf(bytes), "from/here")).toBe(false);
    expect(registry.count("POST", /mount=/)).toBe(1);
    registry.clearFaults();
    await repository.push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.openUploads).toBe(0);
  // The token of the upload has nothing to do with the source of the mount.
  const put = logged(registry, "PUT", /uploads/)[0]?.headers.authorization;
  const mount = logged(registry, "POST", /from=from/)[0]?.headers.authorization;
  if (status !== 202) expect(put).not.toBe(mount);
});

test("row 40: a mount that lies is made good by sending the blob for real", async () => {
  await using registry = await startRegistry();
  registry.fault("lying-mount");
  await surviving({ registries: [registry] }, async (connect) => {
    const repository = connect(registry, { plainHttp }).repository("a");
    expect(await repository.mount(descriptorOf(bytes), "from/here")).toBe(true);
    expect(await repository.push(blobSource(bytes), { force: true })).toBe("stored");
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});

test.each([
  [201, undefined],
  [204, undefined],
  [202, "0-1048575"],
  [201, ""],
  [202, "0-0"],
  [202, "0--1"],
  [202, "bytes=0-99"],
  [202, "1048576-2097151"],
])("row 41: a chunk answered with %i and Range %j", async (status, range) => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("odd-chunk-answer", { status, ...(range === undefined ? {} : { range }) });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) =>
      await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(logged(registry, "PATCH", /./).map(({ headers }) => headers["content-range"])).toEqual([
    "0-1048575",
    "1048576-2097151",
  ]);
});

test.each([false, true])("row 42: a 416 that tells where it stands (bare: %s)", async (bare) => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("misplaced-chunk", { bytes: 300_000, bare, times: 1, skip: 1 });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) =>
      await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("POST", /\/a\/.*uploads/)).toBe(1);
  expect(registry.count("GET", /\/a\/.*uploads/)).toBe(bare ? 1 : 0);
  const at = MiB + 300_000;
  expect(logged(registry, "PATCH", /./)[2]?.headers["content-range"]).toBe(`${at}-${at + MiB - 1}`);
});

test("row 42: a 416 for ever ends after three", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("reject-patch", { status: 416 });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const watched = connect(registry, { plainHttp, chunkBytes: MiB });
      const error = await failureOf(watched.repository("a").push(blobSource(bytes)));
      expect(error.message).toContain("416");
      return error;
    },
  );
  expect(registry.count("PATCH", /./)).toBe(4);
});

test("row 42: a 416 that tells of more than was sent begins anew", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("status", {
    status: 416,
    headers: { range: "0-99999999" },
    times: 1,
    match: { method: "PATCH" },
  });
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("POST", /uploads/)).toBe(2);
});

test("row 42: a 416 about the size leads to smaller chunks", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("chunk-limit", { bytes: 1_000_000 });
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, chunkBytes: 2 * MiB })
      .repository("a")
      .push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});

test("row 47: two sources give the same blob at the same time", async () => {
  await using registry = await startRegistry();
  const outcomes = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp });
    return await Promise.all(
      [1, 2, 3].map(async () => await watched.repository("a").push(blobSource(bytes))),
    );
  });
  expect([...outcomes].sort()).toEqual(["present", "present", "stored"]);
  expect(registry.count("PUT", /uploads/)).toBe(1);
});

test("row 47: the second one sends it if the first one fails", async () => {
  await using registry = await startRegistry();
  registry.fault("status", { status: 400, times: 1, match: { method: "PUT" } });
  const outcomes = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp });
    return await Promise.allSettled(
      [1, 2].map(async () => await watched.repository("a").push(blobSource(bytes))),
    );
  });
  expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});
