/** Foreign layers (protocol notes 4.7): left out, or fetched from where their vendor gives them out, without credentials. */
import { afterAll, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { collect, failureOf } from "../registry-client/support.ts";
import { makeCertificates } from "../support/tls.ts";
import { surviving } from "./support.ts";

const certificates = await makeCertificates();
afterAll(async () => await certificates[Symbol.asyncDispose]());
const tls = { key: certificates.server.key, cert: certificates.server.cert };
const bytes = Buffer.from("a layer of Windows");
const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };
const layer = (urls: readonly string[]) => ({
  mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  digest: digestOf(bytes),
  size: bytes.byteLength,
  urls: [...urls],
});

/** A registry that wants credentials, and a vendor's server with the layer. */
async function sides(): Promise<{
  registry: TestRegistry;
  vendor: TestRegistry;
  url: string;
  [Symbol.asyncDispose]: () => Promise<void>;
}> {
  const registry = await startRegistry({ tls, auth: { type: "basic", users: { ada: "s3cret-word" } } });
  const vendor = await startRegistry({ tls });
  vendor.putBlob("layers", bytes);
  return {
    registry,
    vendor,
    url: `${vendor.url}/v2/layers/blobs/${digestOf(bytes)}`,
    [Symbol.asyncDispose]: async () => void (await Promise.all([registry.close(), vendor.close()])),
  };
}

test("one that the registry does not have comes from its URL, without credentials", async () => {
  await using all = await sides();
  await surviving({ registries: [all.registry, all.vendor] }, async (connect) => {
    const watched = connect(all.registry, { credential, ca: [certificates.ca.cert] });
    const from = watched.repository("a");
    const urls = [
      "http://example.com/no",
      "https://user:hidden@example.com/no",
      `${all.vendor.url}/gone`,
      all.url,
    ];
    expect(await collect(await from.open(layer(urls)))).toEqual(bytes);
    expect(await collect(await from.open(layer([all.url]), { offset: 5 }))).toEqual(bytes.subarray(5));
    expect(watched.client.registry).toBe(all.registry.host);
  });
  expect(all.vendor.requests.length).toBeGreaterThan(1);
  for (const { headers } of all.vendor.requests) expect(headers.authorization).toBeUndefined();
});

test("one that breaks off at a vendor that takes no ranges is gone on with all the same", async () => {
  await using all = await sides();
  all.vendor.fault("ignore-range");
  await surviving({ registries: [all.registry, all.vendor] }, async (connect) => {
    const from = connect(all.registry, { credential, ca: [certificates.ca.cert] }).repository("a");
    expect(await collect(await from.open(layer([all.url]), { offset: 5 }))).toEqual(bytes.subarray(5));
  });
});

test("one that the registry has is read there", async () => {
  await using all = await sides();
  all.registry.putBlob("a", bytes);
  await surviving({ registries: [all.registry] }, async (connect) => {
    const watched = connect(all.registry, { credential, ca: [certificates.ca.cert] });
    expect(await collect(await watched.repository("a").open(layer([all.url])))).toEqual(bytes);
  });
  expect(all.vendor.requests).toEqual([]);
});

test("URLs that are not followed, and those that fail, are told one by one, without what is secret", async () => {
  await using all = await sides();
  all.vendor.deleteBlob("layers", digestOf(bytes));
  const error = await surviving(
    { registries: [all.registry, all.vendor], secrets: ["hidden", "sig-value"] },
    async (connect) => {
      const watched = connect(all.registry, { credential, ca: [certificates.ca.cert] });
      const urls = [
        "http://example.com/layer",
        "https://user:hidden@example.com/layer",
        "https://169.254.169.254/layer",
        `${all.registry.url}/v2/b/blobs/${digestOf(bytes)}`,
        `${all.url}?sig=sig-value`,
        "no url\u001b[2J",
      ];
      return await failureOf(watched.repository("a").open(layer(urls)));
    },
  );
  expect(error.code).toBe("NOT_FOUND");
  const tried = error.details?.["tried"] as readonly string[];
  expect(tried).toEqual([
    "http://example.com/layer is not https",
    "https://example.com/layer comes with a password",
    "https://169.254.169.254/layer is a local address",
    expect.stringContaining("is the registry's own"),
    expect.stringContaining("answered 404"),
    '"no url [2J" is no URL',
  ]);
});
