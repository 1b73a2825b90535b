/** Rows 43 to 46 of the fault list: limits, lost answers and sessions, refused content. */
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { blobSource, descriptorOf, failureOf, logged } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type Connect, surviving } from "./support.ts";

const MiB = 1024 * 1024;
const bytes = randomBytesOf("ladder", 6 * MiB);
const { digest } = descriptorOf(bytes);
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };
const users = { ada: "s3cret-word" };
const plainHttp = true;

const again = async (connect: Connect, host: Parameters<Connect>[0], options = {}): Promise<unknown> =>
  await connect(host, { plainHttp, ...options })
    .repository("again")
    .push(blobSource(bytes));

test("row 43: a 413 of nginx as it is installed leads to chunks that fit, with a word about the price", async () => {
  await using registry = await startRegistry();
  registry.fault("body-limit", { bytes: 1_048_576 });
  const all = ["one", "two", "three", "four"].map((name) => randomBytesOf(name, 6 * MiB));
  const warnings = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp });
    await Promise.all(all.map(async (content) => await watched.repository("a").push(blobSource(content))));
    return watched.warnings;
  });
  for (const content of all)
    expect(registry.blob("a", descriptorOf(content).digest)?.equals(content)).toBe(true);
  const taken = logged(registry, "PATCH", /./).filter(({ status }) => status === 202);
  expect(new Set(taken.map(({ bytesIn }) => bytesIn))).toEqual(new Set([1_000_000]));
  expect(warnings).toEqual([expect.stringContaining("costs speed")]);
  // Learned once: nobody goes below what fits.
  expect(
    logged(registry, "PATCH", /./).every(({ headers }) => Number(headers["content-length"]) >= 1_000_000),
  ).toBe(true);
});

test("row 43: a proxy that breaks the connection over its limit leads to smaller chunks", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("body-reset", { bytes: 2 * MiB });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => await connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});

test("row 43: so it is where the registry cannot tell how far it got", async () => {
  await using registry = await startRegistry({ dialect: "2.8" });
  registry.fault("body-reset", { bytes: 1_048_576 });
  const large = randomBytesOf("capped", 12 * MiB);
  const warnings = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp });
    await watched.repository("a").push(blobSource(large));
    return watched.warnings;
  });
  expect(registry.blob("a", descriptorOf(large).digest)?.equals(large)).toBe(true);
  expect(warnings).toEqual([expect.stringContaining("costs speed")]);
});

test("row 43: a connection that always breaks ends with what may be the reason", async () => {
  await using registry = await startRegistry();
  registry.fault("drop-upload-after", { bytes: 1000 });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const error = await failureOf(connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)));
      expect([error.code, error.hint]).toEqual(["NETWORK", expect.stringContaining("repository a exists")]);
      return error;
    },
  );
});

test("row 43: a cut in the middle of a chunk goes on where the registry says it stands", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("drop-upload-after", { bytes: 1_500_000, skip: 1, times: 2 });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) =>
      await connect(registry, { plainHttp, chunkBytes: 2 * MiB })
        .repository("a")
        .push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("POST", /\/a\/.*uploads/)).toBe(1);
  expect(registry.count("GET", /\/a\/.*uploads/)).toBe(2);
  const taken = [...logged(registry, "PATCH", /\/a\//), ...logged(registry, "PUT", /\/a\//)];
  const total = taken.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  expect(total).toBeLessThan(bytes.length + 2 * 70_000);
});

test("row 43: going on reads again only what lies behind the nearest point that was kept", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  const large = randomBytesOf("points", 40 * MiB);
  registry.fault("drop-upload-after", { bytes: 21 * MiB, times: 1 });
  const source = blobSource(large, { pieceBytes: 300_000 });
  const opened: number[] = [];
  const open = async (offset: number): ReturnType<typeof source.open> => {
    opened.push(offset);
    return await source.open(offset);
  };
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp })
      .repository("a")
      .push({ ...source, open });
  });
  expect(registry.blob("a", descriptorOf(large).digest)?.equals(large)).toBe(true);
  expect(registry.count("POST", /uploads/)).toBe(1);
  expect(opened).toEqual([0, expect.closeTo(18 * MiB, -7)]);
  const total = logged(registry, "PUT", /uploads/).reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  expect(total).toBeLessThan(large.length + MiB);
});

test("row 43: distribution 2.8 does not tell after a cut, and gets a new session", async () => {
  await using registry = await startRegistry({ dialect: "2.8" });
  registry.fault("drop-upload-after", { bytes: 1_500_000, skip: 1, times: 1 });
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, chunkBytes: 2 * MiB })
      .repository("a")
      .push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("POST", /uploads/)).toBe(2);
  expect(logged(registry, "GET", /uploads/).map(({ status }) => status)).toEqual([404]);
});

test.each([502, 504, undefined])("row 43: %s after the whole body", async (status) => {
  await using registry = await startRegistry();
  registry.fault("lost-answer", { ...(status === undefined ? {} : { status }), times: 1 });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => await connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("PUT", /uploads/)).toBe(1 + 1);
  expect(registry.count("HEAD", new RegExp(digest))).toBe(1);
});

test.each([408, 499, 503])("row 43: a %i in the middle", async (status) => {
  await using registry = await startRegistry();
  registry.fault("status", { status, times: 2, match: { method: "PUT" } });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => await connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)),
  );
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
});

test("row 43: a 411 to a PUT with content leads to one PATCH, as Docker sends it", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.customFault("length required", {
    methods: ["PUT"],
    path: /uploads/,
    intercept: (request) => (request.headers["content-length"] === "0" ? undefined : { status: 411 }),
  });
  await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp });
    await watched.repository("a").push(blobSource(bytes));
    await watched.repository("b").push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(registry.count("PATCH", /./)).toBe(2);
  expect(logged(registry, "PATCH", /./)[0]?.headers["content-range"]).toBeUndefined();
});

test.each([
  ["once", 1],
  ["always", 9],
])("row 44: content that arrives damaged %s", async (_name, times) => {
  await using registry = await startRegistry();
  registry.fault("damage-upload", { times });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const pushed = connect(registry, { plainHttp }).repository("a").push(blobSource(bytes));
      if (times === 1) return await pushed;
      const error = await failureOf(pushed);
      expect(error.message).toContain("DIGEST_INVALID");
      expect(error.hint).toContain(digest);
      return error;
    },
  );
  expect(logged(registry, "PUT", /\/a\//).map(({ status }) => status)).toEqual([
    400,
    times === 1 ? 201 : 400,
  ]);
});

test("row 44: chunks that are too small grow", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("small-chunks-refused");
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes));
  });
  expect(registry.blob("a", digest)?.equals(bytes)).toBe(true);
  expect(logged(registry, "PATCH", /./).map(({ headers }) => Number(headers["content-length"]))).toEqual([
    MiB,
    5 * MiB,
  ]);
});

test("row 44: a minimum that the registry names is kept", async () => {
  await using registry = await startRegistry({ dialect: "3" });
  registry.fault("chunk-minimum", { bytes: 4 * MiB });
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, chunkBytes: MiB }).repository("a").push(blobSource(bytes));
  });
  expect(logged(registry, "PATCH", /./).map(({ bytesIn }) => bytesIn)).toEqual([4 * MiB]);
});

test.each([200, 202, 204])("row 44: a PUT answered with %i is looked after", async (status) => {
  await using registry = await startRegistry();
  registry.fault("odd-put-answer", { status });
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp }).repository("a").push(blobSource(bytes));
  });
  expect(registry.count("PUT", /./)).toBe(1);
  expect(registry.count("HEAD", /./)).toBe(1);
});

test("row 44: a PUT that is accepted and lost is sent again once", async () => {
  await using registry = await startRegistry();
  registry.fault("odd-put-answer", { status: 202, lost: true });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const error = await failureOf(connect(registry, { plainHttp }).repository("a").push(blobSource(bytes)));
      expect(error.message).toContain("answered 202, but does not have it");
      return error;
    },
  );
  expect(registry.count("PUT", /\/a\//)).toBe(2);
});

test.each([
  ["twice", 2],
  ["always", 99],
])("row 45: a session that gets lost %s", async (_name, times) => {
  await using registry = await startRegistry();
  registry.fault("forget-uploads", { times, match: { method: "PUT" } });
  await surviving(
    { registries: [registry], again: async (connect) => await again(connect, registry) },
    async (connect) => {
      const pushed = connect(registry, { plainHttp }).repository("a").push(blobSource(bytes));
      if (times === 2) return await pushed;
      const error = await failureOf(pushed);
      expect(error.hint).toContain("http.secret");
      return error;
    },
  );
  expect(registry.count("POST", /\/a\//)).toBe(times === 2 ? 3 : 4);
});

test("row 46: a 401 that comes early ends the body, and the same request goes again", async () => {
  await using registry = await startRegistry({ auth: { type: "bearer", users } });
  const large = randomBytesOf("early", 48 * MiB);
  registry.customFault(
    "expire",
    {
      methods: ["POST"],
      path: /uploads/,
      transform: (reply) => {
        registry.expireTokens();
        return reply;
      },
    },
    { times: 1 },
  );
  await surviving({ registries: [registry] }, async (connect) => {
    await connect(registry, { plainHttp, credential })
      .repository("a")
      .push(blobSource(large, { pieceBytes: MiB }));
  });
  const puts = logged(registry, "PUT", /uploads/);
  expect(puts.map(({ status }) => status)).toEqual([401, 201]);
  expect(puts[0]?.bytesIn).toBeLessThan(large.length);
  expect(registry.blob("a", descriptorOf(large).digest)?.equals(large)).toBe(true);
});
