import { describe, expect, test } from "vitest";
import { diskError } from "../../src/bundle/disk.ts";
import { answerError, describeUrl, parseProblems, printable } from "../../src/registry/errors.ts";
import { networkError } from "../../src/registry/network-errors.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { randomBytesOf } from "../support/layers.ts";
import { eachTest } from "../support/lifetimes.ts";
import { startConnected } from "./connected.ts";
import { blobSource, connectTo, everythingSaid, failureOf, type Watched } from "./support.ts";

let registry: TestRegistry;
let watched: Watched;
eachTest(
  async () =>
    await startConnected(
      "a",
      {},
      { credential: { username: "ada", password: "s3cret-word", origin: "config.json" } },
    ),
  async (made) => {
    ({ registry, watched } = made);
    await watched.client.connect();
  },
);

/** The error of reading a manifest that is answered like this. */
async function answered(status: number, body: string, headers: Record<string, string> = {}) {
  registry.fault("status", { status, body, headers });
  const error = await failureOf(watched.repository("a/b").manifest("v1"));
  registry.clearFaults();
  return error;
}
const problem = (code: string, message: string): string => JSON.stringify({ errors: [{ code, message }] });

describe("an error says", () => {
  test.each([
    [400, "REGISTRY"],
    [401, "AUTH"],
    [403, "DENIED"],
    [404, "NOT_FOUND"],
    [405, "REGISTRY"],
    [413, "REGISTRY"],
    [429, "REGISTRY"],
    [500, "REGISTRY"],
    [507, "REGISTRY"],
  ])("of a %i that it is %s, with host and name", async (status, code) => {
    const error = await answered(status, "");
    expect(error.code).toBe(code);
    expect(error.message).toContain(`${registry.host}`);
    expect(error.message).toContain("a/b:v1");
    if (status !== 404) expect(error.message).toContain(`${status}`);
    if (status !== 400) expect(error.hint).toBeTruthy();
  });

  test("what the registry said", async () => {
    const error = await answered(403, problem("DENIED", "push is forbidden here"));
    expect(error.message).toContain("DENIED push is forbidden here");
    expect(error.details).toMatchObject({ status: 403, method: "GET", codes: ["DENIED"] });
  });

  test("the request's number, for those who look at the registry's log", async () => {
    const error = await answered(500, "", { "x-request-id": "r-42" });
    expect(error.details).toMatchObject({ requestId: "r-42" });
  });

  test("plain text of proxies, but no pages of theirs", async () => {
    expect((await answered(429, "Too Many Requests (HAP429).\n")).message).toContain("HAP429");
    expect((await answered(502, " <html><body>Bad gateway</body></html>")).message).not.toContain("<");
  });
});

describe("an error never says", () => {
  test.each([
    ["escapes and line ends", "\u001b[2J\u001b]0;title\u0007fine\r\nprogress: 100 %\u0085\u2028"],
    ["what turns the direction of text", "fine\u202egpj.exe\u2066\u200f"],
    ["what cannot be seen", "fi\u200bne\u00ad\ufeff"],
  ])("%s", async (_name, text) => {
    for (const body of [text, problem(text, text)]) {
      const error = await answered(400, body);
      expect(error.message).toContain("fi");
      expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
      expect(JSON.stringify(error.details)).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]|\\u/u);
    }
  });

  test("more than a person reads", async () => {
    expect((await answered(400, "x".repeat(1e6))).message.length).toBeLessThan(500);
    const many = JSON.stringify({
      errors: Array(1000).fill({ code: "X".repeat(1000), message: "y".repeat(1000) }),
    });
    expect((await answered(400, many)).message.length).toBeLessThan(2000);
  });

  test("the password, when a registry quotes it", async () => {
    await using closed = await startRegistry({ auth: { type: "basic", users: { ada: "other" } } });
    closed.customFault(
      "quotes",
      {
        methods: ["GET"],
        path: /manifests/,
        intercept: ({ headers }) =>
          headers.authorization === undefined
            ? undefined
            : { status: 403, body: [Buffer.from(`${headers.authorization} (s3cret-word) is not welcome`)] },
      },
      { beforeAuth: true },
    );
    await using own = connectTo(closed, {
      plainHttp: true,
      credential: { username: "ada", password: "s3cret-word", origin: "config.json" },
    });
    const error = await failureOf(own.repository("a").manifest("v1"));
    expect(error.message).toContain("is not welcome");
    expect(everythingSaid(error)).not.toContain("s3cret-word");
    expect(everythingSaid(error)).not.toContain(Buffer.from("ada:s3cret-word").toString("base64"));
  });

  test("the state of an upload or the signature of a URL", async () => {
    registry.fault("status", { status: 400, match: { method: "PUT" } });
    const error = await failureOf(watched.repository("a").push(blobSource(randomBytesOf("x", 100))));
    expect(everythingSaid(error)).not.toContain("_state=");
    expect(JSON.stringify(error.details)).toContain("?…");
    const url = new URL("https://u:p@cdn.example/x?X-Amz-Signature=abc#f");
    expect(describeUrl(url)).toBe("https://cdn.example/x?…");
  });
});

describe("error bodies", () => {
  test.each([
    ["", []],
    ["null", []],
    ["[]", []],
    ['{"errors":null}', []],
    ['{"errors":{}}', []],
    ['{"errors":[null,1,"x"]}', []],
    ['{"errors":[{}]}', [{ code: "UNKNOWN", message: "" }]],
    ['{"errors":[{"code":5,"message":[]}]}', [{ code: "UNKNOWN", message: "" }]],
    ['{"errors":[{"code":"A","message":"b","detail":{"deep":[1]}}]}', [{ code: "A", message: "b" }]],
    ["<Error/>", []],
  ])("%s", (body, expected) => {
    expect(parseProblems(body)).toEqual(expected);
  });
});

describe("a line that fails", () => {
  const coded = (code: string): Error => Object.assign(new Error("raw words"), { code });

  test.each([
    ["ENOTFOUND", "NETWORK", /no such host/],
    ["ECONNREFUSED", "NETWORK", /refused/],
    ["UND_ERR_CONNECT_TIMEOUT", "NETWORK", /timed out/],
    ["UND_ERR_BODY_TIMEOUT", "NETWORK", /no data/],
    ["ECONNRESET", "NETWORK", /broke/],
    ["SELF_SIGNED_CERT_IN_CHAIN", "TLS", /not trusted/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "TLS", /certificate/],
    ["CERT_HAS_EXPIRED", "TLS", /certificate/],
    ["ERR_SSL_WRONG_VERSION_NUMBER", "TLS", /does not speak TLS/],
  ])("%s is %s", (code, expected, words) => {
    const error = networkError("read x", "registry.example", coded(code));
    expect(error.code).toBe(expected);
    expect(error.message).toMatch(words);
    expect(error.message).toContain("registry.example");
    expect(error.hint).toBeTruthy();
  });

  test("is found among the addresses of a host, and behind causes", () => {
    const inner = new Error("outer", { cause: new AggregateError([coded("ECONNREFUSED")], "all failed") });
    expect(networkError("read x", "h", inner).message).toContain("refused");
  });

  test("keeps an error that is known already", () => {
    const known = answerError("read x", { method: "GET", url: new URL("http://h/"), status: 404, body: "" });
    expect(networkError("read y", "h", known)).toBe(known);
  });

  test("shows unknown words on one line", () => {
    expect(networkError("read x", "h", new Error("a\nb\u001b[31m")).message).toBe(
      "Cannot read x: h: a b [31m",
    );
    expect(printable("x".repeat(400))).toHaveLength(301);
  });
});

test("too many open files are no fault of the registry's, and the limit is named", () => {
  const cause = Object.assign(new Error("connect EMFILE 10.0.0.1:5000"), { code: "EMFILE" });
  const { message, hint } = networkError("connect to 10.0.0.1:5000", "10.0.0.1:5000", cause);
  expect(message).toBe("Cannot connect to 10.0.0.1:5000: too many files are open");
  expect(hint).toContain("ulimit -n");
  expect(diskError("write b.tar", cause).hint).toContain("ulimit -n");
});

test("a host that a registry leads to, and that cannot be reached, is told as such", () => {
  const cause = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  const { message, hint } = networkError("upload x to reg.example/app", "127.0.0.1:1", cause);
  expect(message).toBe("Cannot upload x to reg.example/app: 127.0.0.1:1: the connection was refused");
  expect(hint).toMatch(/^the registry leads there: check that 127\.0\.0\.1:1 can be reached from here/);
  expect(networkError("connect to 127.0.0.1:1", "127.0.0.1:1", cause).hint).toMatch(/^check the port/);
});
