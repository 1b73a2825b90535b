/**
 * Credentials stay home (protocol notes 1.8): whatever a registry answers, a second origin that it leads to gets the
 * request, if it gets anything, without any credential.
 */
import { describe, expect, test } from "vitest";
import { listTags } from "../../src/registry/listing.ts";
import type { BasicAuth, BearerAuth } from "../registry/auth.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import type { Watched } from "../registry-client/support.ts";
import { blobSource, collect, descriptorOf } from "../registry-client/support.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { surviving } from "./support.ts";

const users = { ada: "s3cret-word" };
const image = await makeImage();
const bytes = randomBytesOf("privacy", 300_000);
const descriptor = descriptorOf(bytes);
const basic: BasicAuth = { type: "basic", users };
const bearer: BearerAuth = { type: "bearer", users };
const credentials = {
  password: { username: "ada", password: "s3cret-word", origin: "x" },
  "identity token": { identityToken: "refresh-me-secret", origin: "x" },
  "registry token": { registryToken: "ready-made-secret", origin: "x" },
};

interface Vector {
  readonly name: string;
  readonly arrange: (registry: TestRegistry, thief: TestRegistry) => void;
  readonly act: (watched: Watched) => Promise<unknown>;
  /** False where nothing at all may be sent to the other origin. */
  readonly followed: boolean;
}

const elsewhere = (thief: TestRegistry, path: string) => ({ location: `${thief.url}${path}` });
const resolve = (watched: Watched) => watched.repository("a").resolve("v1");
const manifest = (watched: Watched) => watched.repository("a").manifest("v1");
const open = async (watched: Watched) => await collect(await watched.repository("a").open(descriptor));
const push = (watched: Watched) => watched.repository("new").push(blobSource(bytes));

const redirected =
  (method: string, path: RegExp, target: string) => (registry: TestRegistry, thief: TestRegistry) => {
    registry.fault("status", { status: 307, headers: elsewhere(thief, target), match: { method, path } });
  };

/** Sends upload sessions to the other origin, from the answer to this method on. */
const movedUpload = (method: string) => (registry: TestRegistry, thief: TestRegistry) => {
  registry.customFault(`moved by ${method}`, {
    methods: [method],
    path: /\/uploads\//,
    transform: (reply) => {
      const location = reply.headers?.["location"];
      if (typeof location !== "string" || reply.status !== 202) return undefined;
      return { ...reply, headers: { ...reply.headers, location: location.replace(registry.url, thief.url) } };
    },
  });
};

const vectors: readonly Vector[] = [
  {
    name: "redirect of a ping",
    arrange: (registry, thief) => {
      const headers = elsewhere(thief, "/v2/");
      registry.fault("status", { status: 307, headers, match: { path: /^\/v2\/$/ }, beforeAuth: true });
    },
    act: resolve,
    followed: true,
  },
  {
    name: "redirect of a HEAD",
    arrange: redirected("HEAD", /manifests/, "/v2/a/manifests/v1"),
    act: resolve,
    followed: true,
  },
  {
    name: "redirect of a manifest",
    arrange: redirected("GET", /manifests/, "/v2/a/manifests/v1"),
    act: manifest,
    followed: true,
  },
  {
    name: "redirect of a blob",
    arrange: redirected("GET", /blobs/, `/v2/a/blobs/${descriptor.digest}`),
    act: open,
    followed: true,
  },
  {
    name: "redirect of an upload",
    arrange: redirected("POST", /uploads/, "/v2/new/blobs/uploads/"),
    act: push,
    followed: false,
  },
  { name: "Location of a POST", arrange: movedUpload("POST"), act: push, followed: true },
  { name: "Location of a PATCH", arrange: movedUpload("PATCH"), act: push, followed: true },
  {
    name: "Link of a list",
    arrange: (registry, thief) => {
      registry.customFault("link", {
        path: /tags\/list/,
        transform: (reply) => ({
          ...reply,
          headers: { ...reply.headers, link: `<${thief.url}/v2/a/tags/list?last=v1>; rel="next"` },
        }),
      });
    },
    act: (watched) => listTags(watched.client, "a"),
    followed: false,
  },
  {
    name: "challenge of where a redirect leads",
    arrange: (registry, thief) => {
      redirected("GET", /blobs/, "/loot")(registry, thief);
      thief.fault("status", {
        status: 401,
        headers: { "www-authenticate": `Basic realm="r", Bearer realm="${thief.url}/token",service="s"` },
        match: { path: /loot/ },
      });
    },
    act: open,
    followed: true,
  },
  {
    name: "redirect of a token request",
    arrange: (registry, thief) => {
      registry.fault("token-answer", { status: 307, headers: elsewhere(thief, "/token") });
    },
    act: resolve,
    followed: true,
  },
];

/** A registry that takes one token only, which no service of its own gives out. */
function challengeForToken(registry: TestRegistry): void {
  registry.customFault(
    "takes one token",
    {
      path: /^\/v2\//,
      intercept: ({ headers }) =>
        headers.authorization === "Bearer ready-made-secret"
          ? undefined
          : {
              status: 401,
              headers: { "www-authenticate": `Bearer realm="${registry.url}/none",service="s"` },
            },
    },
    { beforeAuth: true },
  );
}

describe.each(Object.entries(credentials))("a %s stays home", (kind, credential) => {
  test.each(
    ["basic", "bearer"]
      // Basic knows passwords only, and has no token service.
      .filter((type) => type === "bearer" || kind === "password")
      .flatMap((type) => vectors.map((vector) => ({ type, ...vector })))
      .filter(({ type, name }) => type === "bearer" || !name.includes("token"))
      // An identity token goes by POST, which is never redirected; a registry token needs no service at all.
      .map((vector) =>
        vector.name.includes("token") && kind !== "password" ? { ...vector, followed: false } : vector,
      ),
  )("$type: $name", async ({ type, arrange, act, followed }) => {
    const tokens = { ...bearer, identityTokens: { "refresh-me-secret": "ada" } };
    const auth = type === "basic" ? basic : tokens;
    await using registry = await startRegistry(kind === "registry token" ? {} : { auth });
    await using thief = await startRegistry({ dialect: "3" });
    for (const each of [registry, thief]) {
      seed(each, "a", "v1", image);
      each.putBlob("a", bytes);
    }
    arrange(registry, thief);
    if (kind === "registry token") challengeForToken(registry);
    await surviving(
      { registries: [registry, thief], secrets: ["s3cret-word", "refresh-me-secret", "ready-made-secret"] },
      async (connect) => {
        const watched = connect(registry, { plainHttp: true, credential, chunkBytes: 100_000 });
        return await act(watched).catch((error: unknown) => error);
      },
    );
    const got = thief.requests;
    expect(got.length > 0).toBe(followed);
    for (const { headers, url } of got) {
      expect(headers.authorization).toBeUndefined();
      expect(headers.cookie).toBeUndefined();
      expect(headers["proxy-authorization"]).toBeUndefined();
      expect(url).not.toMatch(/s3cret|refresh-me|ready-made/);
    }
    const used = registry.requests.some(
      ({ headers, origin, method }) =>
        headers.authorization !== undefined || (origin === "token" && method === "POST"),
    );
    expect(used).toBe(true);
  });
});
