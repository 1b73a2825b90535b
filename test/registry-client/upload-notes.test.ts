/** What uploads leave on the disk for later runs, and how little of that is believed. */
import { spawnSync } from "node:child_process";
import { appendFile, mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { thisProcess } from "../../src/content/owner.ts";
import { systemClock } from "../../src/content/retry.ts";
import { AppError } from "../../src/errors.ts";
import type { ClientOptions } from "../../src/registry/request.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { type TempDir, tempDir } from "../support/temp.ts";
import { blobSource, connectTo, descriptorOf, failureOf, logged, type Watched } from "./support.ts";

const week = 7 * 24 * 3600 * 1000;
const bytes = randomBytesOf("notes", 250_000);
const { digest } = descriptorOf(bytes);
const chunkBytes = 100_000;

let registry: TestRegistry;
let folder: TempDir;
beforeEach(async () => {
  registry = await startRegistry({ dialect: "3" });
  folder = await tempDir();
});
afterEach(async () => {
  await registry.close();
  await folder[Symbol.asyncDispose]();
});

const connect = (options: ClientOptions = {}): Watched =>
  connectTo(registry, { plainHttp: true, chunkBytes, stateFolder: folder.path, ...options });
const uploads = (): string => folder.join("uploads");
const taken = (): number =>
  registry.requests
    .filter(({ method, status }) => (method === "PATCH" || method === "PUT") && status < 300)
    .reduce((sum, { bytesIn }) => sum + bytesIn, 0);

interface Left {
  readonly location: string;
  readonly owner: { readonly pid: number };
}

/** A process that has ended. */
function deadProcess(): { readonly pid: number; readonly host: string } {
  return { pid: spawnSync(process.execPath, ["-e", ""]).pid, host: hostname() };
}

/** Ends an upload, as Ctrl-C does, after its first chunk. */
async function interrupt(options: ClientOptions = {}): Promise<void> {
  const stop = new AbortController();
  const fault = registry.customFault(
    "the user has enough",
    {
      methods: ["PATCH"],
      path: /\/uploads\//,
      intercept: () => {
        stop.abort(new AppError("INTERRUPTED", "interrupted"));
        return { status: 0, held: true };
      },
    },
    { skip: 1 },
  );
  // The client has a second to look after its sessions.
  await using watched = connect({ clock: systemClock, ...options });
  await failureOf(watched.repository("a").push(blobSource(bytes), { signal: stop.signal }));
  await watched.client.close();
  fault.remove();
}

/** Ends an upload after its first chunk, and changes what that left; gives the record's path. */
async function leave(change: (left: Left) => unknown = (left) => left): Promise<string> {
  await interrupt();
  registry.resetLog();
  const [name = ""] = await readdir(uploads());
  const path = join(uploads(), name);
  const left = JSON.parse(await readFile(path, "utf8")) as Left;
  const changed = change({ ...left, owner: deadProcess() });
  await writeFile(path, typeof changed === "string" ? changed : JSON.stringify(changed));
  return path;
}

async function pushAgain(repository = "a"): Promise<readonly string[]> {
  await using watched = connect();
  await watched.repository(repository).push(blobSource(bytes));
  expect(registry.blob(repository, digest)).toEqual(bytes);
  return watched.warnings;
}

describe("a record", () => {
  test("of a process that has ended is gone on with", async () => {
    await leave();
    expect(await pushAgain()).toEqual([]);
    expect(taken()).toBe(bytes.length - chunkBytes);
    expect(await readdir(uploads())).toEqual([]);
  });

  test("of an upload that somebody else has finished is dropped, and its session cancelled", async () => {
    await leave();
    registry.putBlob("a", bytes);
    {
      await using watched = connect({ clock: systemClock });
      expect(await watched.repository("a").push(blobSource(bytes))).toBe("present");
    }
    expect([taken(), registry.openUploads]).toEqual([0, 0]);
    expect(await readdir(uploads())).toEqual([]);
  });

  const useless: readonly (readonly [string, (left: Left) => unknown])[] = [
    ["torn", (left) => JSON.stringify(left).slice(0, 100)],
    ["empty", () => ""],
    ["no object", () => "[]"],
    ["of another version", (left) => ({ ...left, version: 2 })],
    ["with more in it than we know", (left) => ({ ...left, extra: true })],
    ["of another registry", (left) => ({ ...left, registry: "other.example" })],
    ["of another blob", (left) => ({ ...left, digest: descriptorOf(Buffer.from("other")).digest })],
    ["of another size", (left) => ({ ...left, size: 7_000_000 })],
    ["that is beyond its blob", (left) => ({ ...left, offset: bytes.length + 1 })],
    ["that is a week old", (left) => ({ ...left, noted: Date.now() - week - 1000 })],
    ["from a future that is a week away", (left) => ({ ...left, noted: Date.now() + week + 60_000 })],
    ["that leads to a password", (left) => ({ ...left, location: left.location.replace("//", "//ada:pw@") })],
    [
      "that leads to another scheme",
      (left) => ({ ...left, location: left.location.replace("http", "https") }),
    ],
    ["that leads into a cloud's keys", (left) => ({ ...left, location: "http://169.254.169.254/latest" })],
    ["that leads nowhere", (left) => ({ ...left, location: "http://" })],
    [
      "that leads to a blob",
      (left) => ({ ...left, location: new URL(`/v2/a/blobs/${digest}`, left.location).href }),
    ],
    [
      "that leads to a manifest",
      (left) => ({ ...left, location: new URL("/v2/a/manifests/1.0", left.location).href }),
    ],
  ];
  test.each(useless)("%s counts as none, and is removed", async (_name, change) => {
    await leave(change);
    expect(await pushAgain()).toEqual([]);
    expect(taken()).toBe(bytes.length);
    expect(registry.count("GET", /\/uploads\//)).toBe(0);
    expect(registry.count("DELETE", /./)).toBe(0);
    expect(await readdir(uploads())).toEqual([]);
  });

  const foreign: readonly (readonly [string, object])[] = [
    ["of this process", thisProcess()],
    ["of another machine", { pid: 1, host: "elsewhere" }],
    ["of a process that cannot be told from a living one", { pid: process.pid, host: hostname() }],
  ];
  test.each(foreign)("%s is left alone", async (_name, owner) => {
    const path = await leave((left) => ({ ...left, owner }));
    expect(await pushAgain()).toEqual([]);
    expect(taken()).toBe(bytes.length);
    expect((await readdir(uploads())).map((name) => join(uploads(), name))).toEqual([path]);
  });

  test("never sends credentials to another place", async () => {
    await using other = await startRegistry();
    await using guarded = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret" } } });
    registry = guarded;
    const credential = { username: "ada", password: "s3cret", origin: "a test" };
    await interrupt({ credential });
    const [name = ""] = await readdir(uploads());
    const left = JSON.parse(await readFile(join(uploads(), name), "utf8")) as Left;
    const { pathname, search } = new URL(left.location);
    const location = `${other.url}${pathname}${search}`;
    await writeFile(join(uploads(), name), JSON.stringify({ ...left, location, owner: deadProcess() }));
    await using second = connect({ credential });
    await second.repository("a").push(blobSource(bytes));
    expect(guarded.blob("a", digest)).toEqual(bytes);
    expect(other.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test("whose session is said to stand before what was acknowledged is not gone on with", async () => {
    await leave();
    registry.customFault("stuck Range, as ECR has it", {
      methods: ["GET"],
      path: /\/uploads\//,
      transform: (reply) => ({ ...reply, headers: { ...reply.headers, range: "0-999" } }),
    });
    const [warning, ...others] = await pushAgain();
    expect(warning).toMatch(/begins anew: \S+ says that it got to byte 1000, which cannot be$/);
    expect(others).toEqual([]);
    expect(taken()).toBe(bytes.length);
  });

  test("is kept for the next run by a registry that is only busy", async () => {
    const path = await leave();
    registry.fault("status", { status: 503, match: { method: "GET", path: /\/uploads\// } });
    await using watched = connect();
    const error = await failureOf(watched.repository("a").push(blobSource(bytes)));
    expect(error.code).toBe("REGISTRY");
    const [name = ""] = await readdir(uploads());
    expect(join(uploads(), name)).not.toBe(path);
    expect(JSON.parse(await readFile(join(uploads(), name), "utf8"))).toMatchObject({ offset: chunkBytes });
  });

  test("outlasts a limit on requests that has to be learned again", async () => {
    await leave();
    registry.fault("body-limit", { bytes: 100_000 });
    await using watched = connectTo(registry, { plainHttp: true, stateFolder: folder.path });
    await watched.repository("a").push(blobSource(bytes));
    expect(registry.blob("a", digest)).toEqual(bytes);
    expect(taken()).toBe(bytes.length - chunkBytes);
  });

  test("that nobody finished to write goes after an hour", async () => {
    const path = await leave();
    const old = new Date(Date.now() - 3_601_000);
    const drafts = [path.replace(/json$/, "json.0badcafe.tmp"), path.replace(/json$/, "taken")];
    for (const draft of drafts) {
      await writeFile(draft, "");
      await utimes(draft, old, old);
    }
    const young = `${path}.0badbabe.tmp`;
    await writeFile(young, "");
    await writeFile(join(uploads(), "README"), "not ours");
    await pushAgain();
    expect((await readdir(uploads())).map((name) => join(uploads(), name)).sort()).toEqual(
      [young, join(uploads(), "README")].sort(),
    );
  });

  test("that was about to be replaced gives way to its draft, if that is whole", async () => {
    const path = await leave();
    const left = JSON.parse(await readFile(path, "utf8")) as Left;
    const query = new URL(left.location);
    // As a registry that knows only its last answer has it.
    query.searchParams.set("_state", "old");
    await writeFile(`${path}.0badcafe.tmp`, JSON.stringify(left));
    await writeFile(path, JSON.stringify({ ...left, offset: 50_000, location: query.href }));
    await writeFile(path.replace(/json$/, "json.0badbabe.tmp"), JSON.stringify(left).slice(0, 80));
    expect(await pushAgain()).toEqual([]);
    expect(taken()).toBe(bytes.length - chunkBytes);
    expect(logged(registry, "GET", /uploads/).map(({ url }) => url.includes("_state=old"))).toEqual([false]);
    expect(await readdir(uploads())).toHaveLength(1);
  });

  test("is not made for what goes in one request", async () => {
    await using watched = connect();
    await watched.repository("a").push(blobSource(bytes.subarray(0, 1000)));
    await expect(readdir(uploads())).rejects.toThrow("ENOENT");
  });

  test("of content that is wrong is not kept", async () => {
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(wrong.readUInt8(150_000) ^ 1, 150_000);
    await using watched = connect();
    const error = await failureOf(
      watched.repository("a").push(blobSource(wrong, { descriptor: descriptorOf(bytes) })),
    );
    expect(error.code).toBe("INTEGRITY");
    await expect.poll(async () => await readdir(uploads())).toEqual([]);
    await expect.poll(() => registry.openUploads).toBe(0);
  });
});

describe("where blobs were stored", () => {
  const log = async (): Promise<string> => {
    const [name = ""] = await readdir(folder.join("stored"));
    return folder.join("stored", name);
  };
  const mounts = (): readonly (number | undefined)[] =>
    logged(registry, "POST", /mount=/)
      .filter(({ url }) => !url.includes("from=b"))
      .map(({ status }) => status);

  beforeEach(async () => {
    await pushAgain("a");
    registry.resetLog();
  });

  test("is known to the next run, which mounts them from there", async () => {
    await pushAgain("b");
    expect([mounts(), taken()]).toEqual([[201], 0]);
  });

  test("is nothing that is believed: what is not there is sent, in the session that was opened", async () => {
    registry.deleteBlob("a", digest);
    await pushAgain("b");
    expect([mounts(), taken()]).toEqual([[202], bytes.length]);
    expect(registry.openUploads).toBe(0);
  });

  test.each([401, 403, 404, 500])("is no harm where mounts are answered with %i", async (status) => {
    registry.customFault("refused", {
      methods: ["POST"],
      path: /uploads/,
      intercept: ({ query }) => (query.get("from") === "a" ? { status } : undefined),
    });
    await pushAgain("b");
    expect(taken()).toBe(bytes.length);
  });

  test("is forgotten after a week, and lines that are torn or foreign say nothing", async () => {
    const path = await log();
    const good = (await readFile(path, "utf8")).trim();
    const [time = "", repository = ""] = good.split(" ");
    const ago = Math.floor((Date.now() - week) / 1000) - 10;
    const lines = [
      good.replace(time, `${ago}`),
      good.slice(0, -1),
      good.replace(` ${repository} `, " a:pull,push repository:x "),
      good.replace("sha256:", "sha256:0"),
      "\0\0\0\0",
      "x".repeat(100_000),
    ];
    await writeFile(path, `${lines.join("\n")}\n`);
    await pushAgain("b");
    expect([mounts(), taken()]).toEqual([[], bytes.length]);
  });

  test("is still known behind a line that was torn", async () => {
    const path = await log();
    const good = await readFile(path, "utf8");
    await rm(path);
    await writeFile(path, good.trim().slice(0, 40));
    await appendFile(path, good);
    await pushAgain("b");
    expect(mounts()).toEqual([201]);
  });

  test("takes no more room than a few megabytes", async () => {
    const path = await log();
    const good = (await readFile(path, "utf8")).trim();
    await writeFile(path, `${good}\n`.repeat(110_000));
    await pushAgain("b");
    expect(mounts()).toEqual([201]);
    expect((await readFile(path)).length).toBeLessThan(5_000_000);
  });

  test("is on the disk before a tag is set", async () => {
    await using watched = connect();
    const other = randomBytesOf("other", 1000);
    const known: boolean[] = [];
    registry.customFault("looks", {
      methods: ["PUT"],
      path: /\/manifests\//,
      intercept: async () => {
        known.push((await readFile(await log(), "utf8")).includes(descriptorOf(other).digest));
        return undefined;
      },
    });
    await watched.repository("a").push(blobSource(other));
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: descriptorOf(other, "application/vnd.oci.image.config.v1+json"),
        layers: [],
      }),
    );
    const descriptor = descriptorOf(manifest, "application/vnd.oci.image.manifest.v1+json");
    await watched.repository("a").tag(blobSource(manifest, { descriptor, isManifest: true }), "1.0");
    expect(known).toEqual([true]);
  });

  test("is not kept where that is not possible, which is said once", async () => {
    const file = folder.join("stored");
    await rm(file, { recursive: true });
    await writeFile(file, "");
    await mkdir(folder.join("x"));
    await using watched = connect();
    for (const repository of ["b", "c"]) await watched.repository(repository).push(blobSource(bytes));
    await watched.client.close();
    expect(watched.warnings).toEqual([
      `uploads to ${registry.host} cannot be noted in ${file} (EEXIST): one that is interrupted begins anew`,
    ]);
  });
});
