import { expect, test } from "vitest";
import { canMount } from "../../src/content/content.ts";
import type { RegistryRepository } from "../../src/registry/repository.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, connectTo, descriptorOf, failureOf, type Watched } from "./support.ts";

const bytes = randomBytesOf("mount", 10_000);
const descriptor = descriptorOf(bytes);

let registry: TestRegistry;
let watched: Watched;
let repository: RegistryRepository;
eachTest(
  async () => await startConnected("to/there"),
  (made) => {
    ({ registry, watched, repository } = made);
    registry.putBlob("from/here", bytes);
  },
);

test("a registry can mount", () => {
  expect(canMount(repository)).toBe(true);
});

test("a mounted blob is there without a byte sent", async () => {
  expect(await repository.mount(descriptor, "from/here")).toBe(true);
  expect(registry.blob("to/there", descriptor.digest)).toEqual(bytes);
  expect(registry.requests.map(({ method }) => method)).toEqual(["GET", "POST"]);
  expect(registry.requests.at(-1)?.url).toContain(
    `mount=${encodeURIComponent(descriptor.digest)}&from=from%2Fhere`,
  );
});

test("a session that was opened instead is used for the upload that follows", async () => {
  registry.fault("refuse-mount");
  expect(await repository.mount(descriptor, "from/here")).toBe(false);
  // Another object for the same repository: what was learned belongs to the client.
  await watched.repository("to/there").push(blobSource(bytes));
  expect(registry.blob("to/there", descriptor.digest)).toEqual(bytes);
  expect(registry.count("POST", /uploads/)).toBe(1);
  expect(registry.openUploads).toBe(0);
});

test("it is closed if the blob turns out to be there", async () => {
  registry.fault("refuse-mount");
  registry.putBlob("to/there", bytes);
  expect(await repository.mount(descriptor, "from/here")).toBe(false);
  expect(await repository.push(blobSource(bytes))).toBe("present");
  await expect.poll(() => registry.openUploads).toBe(0);
});

test("a source that the registry does not know is no failure", async () => {
  expect(await repository.mount(descriptor, "no/such")).toBe(false);
  expect(await repository.push(blobSource(bytes))).toBe("stored");
  expect(registry.openUploads).toBe(0);
});

test("a repository that nothing could be mounted from several times is not asked for again", async () => {
  registry.fault("refuse-mount", { status: 403 });
  for (let index = 0; index < 6; index += 1) {
    expect(await watched.repository(`to/${index}`).mount(descriptor, "from/here")).toBe(false);
  }
  expect(registry.count("POST", /mount=/)).toBe(3);
  registry.clearFaults();
  registry.putBlob("from/elsewhere", bytes);
  expect(await repository.mount(descriptor, "from/elsewhere")).toBe(true);
});

test.each([200, 400, 401, 403, 404, 405, 500, 503])(
  "a %i is a refusal, after which a plain upload works",
  async (status) => {
    registry.fault("refuse-mount", { status });
    expect(await repository.mount(descriptor, "from/here")).toBe(false);
    expect(registry.count("POST", /mount=/)).toBe(1);
    registry.clearFaults();
    await repository.push(blobSource(bytes));
    expect(registry.blob("to/there", descriptor.digest)).toEqual(bytes);
  },
);

test("a right that is missing for the source is a refusal too", async () => {
  const users = { ada: "s3cret" };
  const rights = (_user: string, name: string): readonly string[] =>
    name === "to/there" ? ["pull", "push"] : [];
  await using closed = await startRegistry({ auth: { type: "bearer", users, rights } });
  closed.putBlob("from/here", bytes);
  const credential = { username: "ada", password: "s3cret", origin: "x" };
  await using own = connectTo(closed, { plainHttp: true, credential });
  const target = own.repository("to/there");
  expect(await target.mount(descriptor, "from/here")).toBe(false);
  await target.push(blobSource(bytes));
  expect(closed.blob("to/there", descriptor.digest)).toEqual(bytes);
});

test("the token for a mount covers both sides", async () => {
  const users = { ada: "s3cret" };
  await using closed = await startRegistry({ auth: { type: "bearer", users } });
  closed.putBlob("from/here", bytes);
  await using own = connectTo(closed, {
    plainHttp: true,
    credential: { username: "ada", password: "s3cret", origin: "x" },
  });
  expect(await own.repository("to/there").mount(descriptor, "from/here")).toBe(true);
  const [asked] = closed.requests.filter(({ origin }) => origin === "token");
  expect(new URLSearchParams(asked?.url.split("?")[1]).getAll("scope").sort()).toEqual([
    "repository:from/here:pull",
    "repository:to/there:pull,push",
  ]);
});

test("a line that breaks is no refusal", async () => {
  registry.customFault("cut", {
    methods: ["POST"],
    path: /uploads/,
    intercept: () => ({ status: 0, raw: (socket) => socket.destroy() }),
  });
  expect((await failureOf(repository.mount(descriptor, "from/here"))).code).toBe("NETWORK");
});
