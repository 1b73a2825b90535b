/** The harness itself: what the other interop tests rely on. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, fetch, request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeCertificate } from "./support/certificates.ts";
import { startDockerRegistry } from "./support/docker-registry.ts";
import { alice, basicAuthorization, bob, htpasswdFile } from "./support/htpasswd.ts";
import { withLock } from "./support/lock.ts";
import { canMakeNamespaces, makeNamespace } from "./support/namespace.ts";
import { startNginx } from "./support/nginx.ts";
import { run } from "./support/process.ts";
import { startRelay } from "./support/relay.ts";
import { interopTools, proxyTools } from "./support/tools.ts";

const tools = await interopTools();
const proxies = await proxyTools();
const program = tools?.dockerRegistry ?? "";
const namespaces = await canMakeNamespaces();
const emptyBlob = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "oci-mirror-support-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Puts a blob by POST and PUT, as any client would. Gives the last status. */
async function upload(url: string, digest: string, content: string, headers = {}): Promise<number> {
  const begun = await fetch(`${url}/v2/some/repo/blobs/uploads/`, { method: "POST", headers });
  const place = new URL(begun.headers.get("location") ?? "");
  place.searchParams.set("digest", digest);
  const done = await fetch(place, { method: "PUT", headers, body: content });
  return done.status;
}

describe.skipIf(tools === undefined)("docker-registry", () => {
  test("starts on a free port, and its requests are counted by method and path", async () => {
    await using registry = await startDockerRegistry({ program });
    expect(registry.url).toBe(`http://${registry.host}`);
    await fetch(`${registry.url}/v2/some/repo/tags/list`);
    await fetch(`${registry.url}/v2/some/repo/manifests/v1?a=b`, { method: "HEAD" });
    expect(await registry.accessLog.requests()).toEqual([
      expect.objectContaining({ method: "GET", path: "/v2/some/repo/tags/list", query: "", status: 404 }),
      expect.objectContaining({
        method: "HEAD",
        path: "/v2/some/repo/manifests/v1",
        query: "a=b",
        status: 404,
      }),
    ]);
    expect(await registry.accessLog.count("HEAD", /\/manifests\//)).toBe(1);
    expect(await registry.accessLog.count("GET", /\/manifests\//)).toBe(0);
    await registry.accessLog.clear();
    expect(await registry.accessLog.requests()).toEqual([]);
  });

  test("keeps content in a folder that outlives it", async () => {
    const dir = join(folder, "kept");
    const first = await startDockerRegistry({ program, dir });
    expect(await upload(first.url, emptyBlob, "")).toBe(201);
    await first.close();
    await using second = await startDockerRegistry({ program, dir });
    const found = await fetch(`${second.url}/v2/some/repo/blobs/${emptyBlob}`, { method: "HEAD" });
    expect(found.status).toBe(200);
  });

  test("is gone after close", async () => {
    const registry = await startDockerRegistry({ program });
    await registry.close();
    await expect(fetch(`${registry.url}/v2/`)).rejects.toThrow();
  });

  test("reports why it does not start", async () => {
    await using registry = await startDockerRegistry({ program });
    const port = Number(registry.host.split(":")[1]);
    await expect(startDockerRegistry({ program, port })).rejects.toThrow(/address already in use/);
  });

  test("asks for a password and takes the right one only", async () => {
    await using registry = await startDockerRegistry({ program, htpasswd: htpasswdFile([alice, bob]) });
    const status = async (authorization?: string): Promise<number> => {
      const headers = authorization === undefined ? {} : { authorization };
      return (await fetch(`${registry.url}/v2/`, { headers })).status;
    };
    const challenge = (await fetch(`${registry.url}/v2/`)).headers.get("www-authenticate");
    expect(challenge).toBe('Basic realm="test registry"');
    expect(await status()).toBe(401);
    expect(await status(basicAuthorization(alice))).toBe(200);
    expect(await status(basicAuthorization(bob))).toBe(200);
    expect(await status(basicAuthorization({ ...alice, password: bob.password }))).toBe(401);
  });

  test("speaks TLS with a certificate for its address", async () => {
    const tls = await makeCertificate({ dir: folder, hosts: ["127.0.0.1", "localhost"], name: "tls" });
    await using registry = await startDockerRegistry({ program, tls });
    const trusting = new Agent({ connect: { ca: tls.certificate } });
    const answer = await request(`${registry.url}/v2/`, { dispatcher: trusting });
    expect(answer.statusCode).toBe(200);
    await answer.body.dump();
    await trusting.close();
    await expect(request(`${registry.url}/v2/`)).rejects.toThrow(/self-signed/);
  });

  test("deletes only where that is enabled", async () => {
    for (const [deleteEnabled, status] of [
      [true, 202],
      [false, 405],
    ] as const) {
      await using registry = await startDockerRegistry({ program, deleteEnabled });
      await upload(registry.url, emptyBlob, "");
      const answer = await fetch(`${registry.url}/v2/some/repo/blobs/${emptyBlob}`, { method: "DELETE" });
      expect(answer.status).toBe(status);
    }
  });

  test("redirects blob reads to another host", async () => {
    const asked: string[] = [];
    const storage = createServer((incoming, response) => {
      asked.push(incoming.url ?? "");
      response.end();
    });
    await new Promise<void>((settle) => storage.listen(0, "127.0.0.1", settle));
    const baseUrl = `http://127.0.0.1:${(storage.address() as AddressInfo).port}`;
    try {
      await using registry = await startDockerRegistry({ program, redirect: { baseUrl } });
      await upload(registry.url, emptyBlob, "");
      const answer = await fetch(`${registry.url}/v2/some/repo/blobs/${emptyBlob}`);
      expect(answer.url.startsWith(`${baseUrl}/docker/registry/v2/blobs/sha256/e3/`)).toBe(true);
      expect(asked).toHaveLength(1);
    } finally {
      storage.closeAllConnections();
      storage.close();
    }
  });

  describe.skipIf(!namespaces)("in a network namespace", () => {
    test("serves an address that this machine does not have", async () => {
      await using namespace = await makeNamespace(["10.141.241.175"]);
      await using registry = await startDockerRegistry({
        program,
        netns: namespace.name,
        host: "10.141.241.175",
        port: 32000,
      });
      expect(registry.host).toBe("10.141.241.175:32000");
      const script = `fetch("${registry.url}/v2/some/repo/tags/list").then((answer) => console.log(answer.status))`;
      const inside = await namespace.exec(process.execPath, ["-e", script]);
      expect(inside).toEqual({ code: 0, stdout: "404\n", stderr: "" });
      expect(await registry.accessLog.count("GET", /tags\/list$/)).toBe(1);
      expect((await run("ip", ["route", "get", "10.141.241.175"])).stdout).not.toContain("local");
    });
  });
});

describe.skipIf(tools === undefined || proxies === undefined)("in front of docker-registry", () => {
  test("nginx passes on, and tells what never got there", async () => {
    await using registry = await startDockerRegistry({ program });
    await using front = await startNginx({
      program: proxies?.nginx ?? "",
      upstream: registry.url,
      maxBody: "1m",
    });
    const begun = await fetch(`${front.url}/v2/some/repo/blobs/uploads/`, { method: "POST" });
    expect(begun.status).toBe(202);
    const place = new URL(begun.headers.get("location") ?? "");
    expect(place.host).toBe(front.host);
    const refused = await fetch(place, { method: "PATCH", body: Buffer.alloc(1024 * 1024 + 1) });
    expect(refused.status).toBe(413);
    const path = "/v2/some/repo/blobs/uploads/";
    const started = expect.objectContaining({ method: "POST", path, status: 202 });
    expect(await front.accessLog.requests()).toEqual([
      started,
      expect.objectContaining({ method: "PATCH", path: place.pathname, status: 413 }),
    ]);
    expect(await registry.accessLog.requests()).toEqual([started]);
  });

  test("nginx asks for a password, and refuses more than so many at once", async () => {
    await using registry = await startDockerRegistry({ program });
    await using front = await startNginx({
      program: proxies?.nginx ?? "",
      upstream: registry.url,
      htpasswd: htpasswdFile([alice]),
      limit: { perSecond: 1, burst: 2, status: 429 },
    });
    const ask = async (authorization?: string): Promise<number> =>
      (await fetch(`${front.url}/v2/a/tags/list`, authorization ? { headers: { authorization } } : {}))
        .status;
    const statuses = [
      await ask(),
      await ask(basicAuthorization(alice)),
      await ask(),
      await ask(),
      await ask(),
    ];
    expect(statuses).toContain(429);
    expect(statuses.every((status) => [401, 404, 429].includes(status))).toBe(true);
  });

  test("a relay lets so many bytes through in a second, and breaks where it was told to", async () => {
    await using registry = await startDockerRegistry({ program });
    const port = Number(registry.host.split(":")[1]);
    {
      await using relay = await startRelay({ port, upload: 1_000_000 });
      const started = performance.now();
      const body = "x".repeat(500_000);
      const answer = await fetch(`http://${relay.host}/v2/some/repo/manifests/v1`, { method: "PUT", body });
      expect(answer.status).toBe(400);
      expect(performance.now() - started).toBeGreaterThan(400);
      expect(relay.moved.up).toBeGreaterThan(500_000);
    }
    await using relay = await startRelay({ port, breakAfter: () => 100_000 });
    const body = "x".repeat(500_000);
    const broken = fetch(`http://${relay.host}/v2/some/repo/manifests/v1`, { method: "PUT", body });
    await expect(broken).rejects.toThrow();
    expect(relay.broken).toBe(1);
  });
});

describe.skipIf(tools === undefined)("skopeo", () => {
  test("runs", async () => {
    const outcome = await run(tools?.skopeo ?? "", ["--version"]);
    expect(outcome).toMatchObject({ code: 0, stdout: expect.stringMatching(/^skopeo version 1\./) });
  });
});

test("a namespace is gone after close", { skip: !namespaces }, async () => {
  const namespace = await makeNamespace(["192.0.2.1", "2001:db8::1"]);
  expect((await namespace.exec("ip", ["-o", "addr"])).stdout).toMatch(
    /192\.0\.2\.1\/32[\s\S]*2001:db8::1\/128/,
  );
  await namespace.close();
  expect((await run("ip", ["netns", "list"])).stdout).not.toContain(namespace.name);
});

test("a lock lets one in at a time, and a dead owner's lock is taken over", async () => {
  const path = join(folder, "lock");
  let [inside, most] = [0, 0];
  const work = async (): Promise<void> => {
    inside += 1;
    most = Math.max(most, inside);
    await run("true", []);
    inside -= 1;
  };
  await Promise.all([withLock(path, work), withLock(path, work), withLock(path, work)]);
  expect(most).toBe(1);
  const dead = await run("sh", ["-c", 'echo "$$" | tr -d "\\n" >"$0"', path]);
  expect(dead.code).toBe(0);
  expect(await withLock(path, () => readFile(path, "utf8"))).toBe(String(process.pid));
});
