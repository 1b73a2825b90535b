/** Proxies: which one a request goes through, and that everything goes through it. */
import { describe, expect, test } from "vitest";
import { type HttpProxy, proxiesOf } from "../../src/registry/net/proxy.ts";
import { type RegistryOptions, startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { randomBytesOf } from "../support/layers.ts";
import { allTests } from "../support/lifetimes.ts";
import { type ProxyOptions, startProxy, type TestProxy } from "../support/proxy.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { refusedHost, startRawServer } from "./raw-server.ts";
import { blobSource, collect, connectTo, descriptorOf, everythingSaid, failureOf } from "./support.ts";

let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

/** `URL via PROXY`, or `URL directly`, by the environment. */
const way = (env: Record<string, string>, url: string): string => {
  const proxy = proxiesOf(env)(new URL(url));
  return proxy === undefined ? "directly" : `${proxy.variable} ${proxy.host}`;
};

describe("the environment", () => {
  test.each([
    [{}, "https://a.example", "directly"],
    [{ HTTPS_PROXY: "http://p:3128" }, "https://a.example", "HTTPS_PROXY p:3128"],
    [{ https_proxy: "http://p:3128" }, "https://a.example", "https_proxy p:3128"],
    [{ https_proxy: "http://low", HTTPS_PROXY: "http://up" }, "https://a.example", "HTTPS_PROXY up:80"],
    [{ HTTPS_PROXY: "", https_proxy: "http://low" }, "https://a.example", "https_proxy low:80"],
    [{ HTTPS_PROXY: "http://p:3128" }, "http://a.example", "directly"],
    [{ HTTP_PROXY: "http://p:3128" }, "http://a.example", "HTTP_PROXY p:3128"],
    [{ HTTP_PROXY: "http://p:3128" }, "https://a.example", "directly"],
    [{ ALL_PROXY: "http://p:3128" }, "https://a.example", "ALL_PROXY p:3128"],
    [{ all_proxy: "p:3128" }, "http://a.example", "all_proxy p:3128"],
    [{ ALL_PROXY: "socks5://s", HTTPS_PROXY: "p", HTTP_PROXY: "p" }, "https://a.example", "HTTPS_PROXY p:80"],
    [{ HTTPS_PROXY: "proxy.lan:3128" }, "https://a.example", "HTTPS_PROXY proxy.lan:3128"],
    [{ HTTPS_PROXY: "https://p" }, "https://a.example", "HTTPS_PROXY p:443"],
    [{ HTTPS_PROXY: "http://[fd00::1]:3128" }, "https://a.example", "HTTPS_PROXY [fd00::1]:3128"],
    // Registries in private networks go through it too, as with curl.
    [{ HTTPS_PROXY: "p" }, "https://10.0.0.1:5000", "HTTPS_PROXY p:80"],
    [{ HTTPS_PROXY: "p" }, "https://localhost:5000", "directly"],
    [{ HTTPS_PROXY: "p" }, "https://127.0.0.9", "directly"],
    [{ HTTPS_PROXY: "p" }, "https://[::1]:5000", "directly"],
  ])("%j: %s goes %s", (env, url, expected) => {
    expect(way(env, url)).toBe(expected);
  });

  test.each([
    ["*", "https://a.example", false],
    ["a.example", "https://a.example", false],
    ["a.example", "https://A.Example.", false],
    ["a.example", "https://b.a.example:5000", false],
    ["a.example", "https://ba.example", true],
    [".a.example", "https://b.a.example", false],
    [".a.example", "https://a.example", true],
    ["*.a.example", "https://b.a.example", false],
    ["*.a.example", "https://a.example", true],
    ["a.example:5000", "https://a.example:5000", false],
    ["a.example:5000", "https://a.example", true],
    ["a.example:443", "https://a.example", false],
    ["10.1.2.3", "https://10.1.2.3:5000", false],
    ["10.1.2.3:5000", "https://10.1.2.3", true],
    ["10.0.0.0/8", "https://10.1.2.3", false],
    ["10.0.0.0/8", "https://11.1.2.3", true],
    ["10.0.0.0/33", "https://10.1.2.3", true],
    ["fd00::/8", "https://[fd00::5]:5000", false],
    ["fd00::5", "https://[fd00:0::5]:5000", false],
    ["[fd00::5]:5000", "https://[fd00::5]:5000", false],
    ["[fd00::5]:5001", "https://[fd00::5]:5000", true],
    ["x.example, a.example", "https://a.example", false],
    ["x.example a.example", "https://a.example", false],
    [",, ,", "https://a.example", true],
    [":5000", "https://a.example:5000", true],
  ])("NO_PROXY=%s: %s goes through it: %s", (entries, url, proxied) => {
    expect(way({ HTTPS_PROXY: "p", NO_PROXY: entries }, url)).toBe(proxied ? "HTTPS_PROXY p:80" : "directly");
    expect(way({ HTTPS_PROXY: "p", no_proxy: entries }, url) === "directly").toBe(!proxied);
  });

  test.each(["socks5://ada:s3cret@p:1080", "socks5h://p", "ftp://p", "http://", "http://ada:s3cret@p:x"])(
    "%s cannot be used, and its password is not told",
    (proxy) => {
      const use = (): unknown => proxiesOf({ HTTPS_PROXY: proxy });
      expect(use).toThrow(expect.objectContaining({ code: "USAGE" }));
      expect(use).toThrow(/HTTPS_PROXY/);
      expect(use).not.toThrow(/s3cret/);
    },
  );
});

interface Setting extends AsyncDisposable {
  readonly registry: TestRegistry;
  readonly proxy: TestProxy;
  readonly used: HttpProxy;
}

/** A registry, and a proxy on the way to it. */
async function setUp(registryOptions: RegistryOptions, options: ProxyOptions, user = ""): Promise<Setting> {
  const registry = await startRegistry(registryOptions);
  const proxy = await startProxy(options);
  const scheme = options.tls === undefined ? "http" : "https";
  const env = { ALL_PROXY: `${scheme}://${user}${proxy.host}` };
  const used = proxiesOf(env)(new URL("https://a.example"));
  if (used === undefined) throw new Error("there is a proxy");
  return {
    registry,
    proxy,
    used,
    [Symbol.asyncDispose]: async () => {
      await proxy[Symbol.asyncDispose]();
      await registry.close();
    },
  };
}
const login = "ada:p@ss:word";
const user = "ada:p%40ss%3Aword@";

describe.each([
  ["http through http", false, false],
  ["https through http", true, false],
  ["http through https", false, true],
  ["https through https", true, true],
])("a registry behind a proxy, %s", (_name, secure, secureProxy) => {
  const open = async (options: ProxyOptions = {}, userPart = ""): Promise<Setting> =>
    await setUp(
      secure ? { tls: certificates.server } : {},
      { ...options, ...(secureProxy ? { tls: certificates.server } : {}) },
      userPart,
    );
  const connect = ({ registry, used }: Setting) =>
    connectTo(registry, { ca: [certificates.ca.cert], proxyFor: () => used });

  test("gets everything through it, and never sees its password", async () => {
    await using setting = await open({ login }, user);
    const { registry, proxy } = setting;
    await using watched = connect(setting);
    const image = await makeImage();
    seed(registry, "a", "v1", image);
    const repository = watched.repository("a");
    expect((await repository.resolve("v1")).digest).toBe(image.descriptor.digest);
    const bytes = randomBytesOf("through a proxy", 3_000_000);
    await repository.push(blobSource(bytes));
    expect(registry.blob("a", descriptorOf(bytes).digest)).toEqual(bytes);
    expect(await collect(await repository.open(descriptorOf(bytes)))).toEqual(bytes);
    const target = secure ? registry.host : `${registry.url}/v2/`;
    expect(proxy.seen.length).toBeGreaterThan(0);
    for (const entry of proxy.seen) {
      expect(entry.method === "CONNECT").toBe(secure || entry.target === registry.host);
      expect(entry.authorization).toBe(`Basic ${Buffer.from(login).toString("base64")}`);
    }
    expect(proxy.seen.some((entry) => entry.target === target)).toBe(true);
    expect(registry.requests.every(({ headers }) => headers["proxy-authorization"] === undefined)).toBe(true);
  });

  test.each([
    [407, "AUTH", /wants credentials \(407\)/],
    [403, "DENIED", /does not let us through/],
    [502, "NETWORK", /cannot reach/],
  ])("fails with a message that names it: %i", async (status, code, words) => {
    await using setting = await open({ refuse: status });
    await using watched = connect(setting);
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe(code);
    expect(error.message).toContain(`the proxy ${setting.proxy.host} (ALL_PROXY)`);
    expect(error.message).toMatch(words);
    expect(error.hint).toBeTruthy();
    expect(setting.registry.requests).toEqual([]);
    if (status !== 502) expect(watched.clock.sleeps).toEqual([]);
  });

  test("fails for a wrong password, and does not tell it", async () => {
    await using setting = await open({ login }, "ada:wr0ng-word@");
    await using watched = connect(setting);
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("does not accept the credentials (407)");
    expect(everythingSaid(error)).not.toContain("wr0ng-word");
  });
});

describe("a proxy", () => {
  const used = (host: string): HttpProxy => {
    const proxy = proxiesOf({ HTTPS_PROXY: host })(new URL("https://a.example"));
    if (proxy === undefined) throw new Error("there is a proxy");
    return proxy;
  };

  test("that is not there is named, and the registry is not blamed", async () => {
    const proxy = used(await refusedHost());
    await using watched = connectTo("registry.example", { proxyFor: () => proxy });
    const error = await failureOf(watched.client.connect());
    expect(error.message).toContain(
      `the proxy ${proxy.host} (HTTPS_PROXY) cannot be used: the connection was refused`,
    );
    expect(error.hint).toContain("HTTPS_PROXY");
    expect(watched.clock.sleeps).toEqual([]);
  });

  test("that refuses a wrong password with 401, as tinyproxy does, is told as such", async () => {
    await using proxy = await startProxy({ refuse: 401 });
    const refused = used(`http://ada:wr0ng-word@${proxy.host}`);
    await using watched = connectTo("registry.example", { proxyFor: () => refused });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("does not accept the credentials (401)");
    expect(everythingSaid(error)).not.toContain("wr0ng-word");
  });

  test("that cannot reach a private address: NO_PROXY is the way out", async () => {
    await using proxy = await startProxy({ refuse: 503 });
    await using watched = connectTo("10.9.8.7:5000", { proxyFor: () => used(proxy.host) });
    const error = await failureOf(watched.client.connect());
    expect(error.hint).toContain("add it to NO_PROXY");
    expect(proxy.seen.every(({ target }) => target === "10.9.8.7:5000")).toBe(true);
  });

  test.each([
    ["is silent", () => undefined],
    [
      "speaks no HTTP",
      (socket: { write: (text: string) => unknown }) => socket.write("SSH-2.0-x\r\n\r\n\r\n"),
    ],
    ["hangs up", (socket: { destroy: () => unknown }) => socket.destroy()],
  ])("that %s is named", async (_name, serve) => {
    await using server = await startRawServer((socket) => void serve(socket));
    const timeouts = { connectMs: 50 };
    await using watched = connectTo("registry.example", { proxyFor: () => used(server.host), timeouts });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("NETWORK");
    expect(error.message).toContain(`the proxy ${server.host} (HTTPS_PROXY)`);
  });

  test("of TLS that nobody trusts is not used", async () => {
    await using proxy = await startProxy({ tls: certificates.server });
    await using watched = connectTo("registry.example", {
      proxyFor: () => used(`https://${proxy.host}`),
      insecure: true,
    });
    const error = await failureOf(watched.client.connect());
    expect(error.code).toBe("TLS");
    expect(error.message).toContain(`the proxy ${proxy.host}`);
    expect(proxy.seen).toEqual([]);
  });
});
