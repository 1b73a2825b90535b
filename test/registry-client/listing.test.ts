import { describe, expect, test } from "vitest";
import { listRepositories, listTags } from "../../src/registry/listing.ts";
import { proxiesOf } from "../../src/registry/net/proxy.ts";
import { jsonReply } from "../registry/errors.ts";
import type { Reply, ReplyHeaders } from "../registry/http.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { makeImage } from "../support/images.ts";
import { allTests, eachTest } from "../support/lifetimes.ts";
import { startProxy } from "../support/proxy.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { startConnected } from "./connected.ts";
import { connectTo, everythingSaid, failureOf, type Watched } from "./support.ts";

const image = await makeImage();
const names = Array.from({ length: 25 }, (_, index) => `t${String(index).padStart(2, "0")}`);
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

let registry: TestRegistry;
let watched: Watched;
eachTest(
  async () => await startConnected("a", { dialect: "3" }),
  (made) => {
    ({ registry, watched } = made);
  },
);

function putTags(to: TestRegistry, repository: string, tags: readonly string[]): void {
  for (const tag of tags) to.putManifest(repository, tag, image.manifest, image.descriptor.mediaType);
}
/** Makes pages of so many entries, whatever the client asks for. */
function pages(of: TestRegistry, size: number, link?: (link: string) => string | readonly string[]): void {
  of.customFault("small pages", {
    path: /\/tags\/list$|\/_catalog$/,
    intercept: ({ query }) => {
      query.set("n", `${size}`);
      return "altered";
    },
    transform: (reply) => {
      const given = reply.headers?.["link"];
      if (typeof given !== "string" || link === undefined) return undefined;
      return { ...reply, headers: { ...reply.headers, link: link(given) } };
    },
  });
}
function answer(...replies: readonly Reply[]): void {
  let next = 0;
  registry.customFault("scripted", {
    path: /\/tags\/list$|\/_catalog$/,
    intercept: () => {
      next += 1;
      return replies[Math.min(next, replies.length) - 1];
    },
  });
}
const tagsPage = (tags: unknown, headers: ReplyHeaders = {}): Reply =>
  jsonReply(200, { name: "a", tags }, headers);

describe("tags", () => {
  test("come sorted, in one page if they fit", async () => {
    putTags(registry, "a/b", [...names].reverse());
    expect(await listTags(watched.client, "a/b")).toEqual(names);
    expect(registry.count("GET", /tags\/list/)).toBe(1);
    await using old = await startRegistry();
    putTags(old, "a/b", [...names].reverse());
    await using own = connectTo(old, { plainHttp: true });
    expect(await listTags(own.client, "a/b")).toEqual(names);
  });

  test.each([
    ["paths", (link: string) => link],
    ["absolute URLs", (link: string) => link.replace("</", `<${registry.url}/`)],
    ["bare parameters", (link: string) => link.replace('"next"', "next")],
    ["parameters before rel", (link: string) => link.replace("; rel", '; title="a, b"; rel')],
    ["other links in front", (link: string) => `</v2/x?n=1>; rel="prev", ${link}`],
    ["other links in lines of their own", (link: string) => ['</v2/x>; rel="prev"', link]],
    ["no angle brackets, as old Quay", (link: string) => link.replace(/[<>]/g, "")],
    ["a comma in the URL", (link: string) => link.replace("?", "?opaque=a,b&")],
  ])("are paged by Link: %s", async (_name, change) => {
    putTags(registry, "a", names);
    pages(registry, 10, change);
    expect(await listTags(watched.client, "a")).toEqual(names);
    expect(registry.count("GET", /tags\/list/)).toBe(3);
  });

  test("keep to https where a proxy made the registry say http", async () => {
    await using secure = await startRegistry({ dialect: "3", tls: certificates.server });
    putTags(secure, "a", names);
    pages(secure, 10, (link) => link.replace("</", `<http://${secure.host}/`));
    await using own = connectTo(secure, { ca: [certificates.ca.cert] });
    expect(await listTags(own.client, "a")).toEqual(names);
  });

  test("a link to another page that is not the next one is not followed", async () => {
    putTags(registry, "a", names);
    pages(registry, 10, (link) => link.replace("next", "last"));
    expect(await listTags(watched.client, "a")).toHaveLength(10);
    registry.clearFaults();
    pages(registry, 10, (link) => link.replace("next", "next-archive"));
    expect(await listTags(watched.client, "a")).toHaveLength(10);
  });

  test("pages on another host are refused, and not asked for", async () => {
    await using other = await startRegistry();
    putTags(registry, "a", names);
    pages(registry, 10, (link) => link.replace("</", `<${other.url}/`));
    const error = await failureOf(listTags(watched.client, "a"));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain(other.host);
    expect(other.requests).toEqual([]);
  });

  test.each(["</v2/a/tags/list?n=1000>", "<?n=1000>", "<?again>"])(
    "pages that never end are given up: %s",
    async (link) => {
      answer(tagsPage(["v1"], { link: `${link}; rel="next"` }));
      const error = await failureOf(listTags(watched.client, "a"));
      expect(error.code).toBe("REGISTRY");
      expect(error.message).toContain("never end");
      expect(registry.count("GET", /tags\/list/)).toBeLessThanOrEqual(3);
    },
  );

  test("two pages that lead to each other are given up", async () => {
    answer(
      tagsPage(["a"], { link: '</v2/a/tags/list?p=1>; rel="next"' }),
      tagsPage(["b"], { link: '</v2/a/tags/list?p=2>; rel="next"' }),
      tagsPage(["a"], { link: '</v2/a/tags/list?p=1>; rel="next"' }),
    );
    expect((await failureOf(listTags(watched.client, "a"))).message).toContain("never end");
  });

  test("an empty page may have a next one, and what comes twice counts once", async () => {
    answer(
      tagsPage(["b", "a"], { link: '<?p=1>; rel="next"' }),
      tagsPage(null, { link: '<?p=2>; rel="next"' }),
      tagsPage(["a", "c"]),
    );
    expect(await listTags(watched.client, "a")).toEqual(["a", "b", "c"]);
  });

  test.each([
    ["null", null, []],
    ["left out", undefined, []],
    ["odd", [null, "", "v1", 5, {}, "sha256:abc", "../x", "x".repeat(300), "\u001b[2J", "v1"], ["v1"]],
  ])("that are %s", async (_name, tags, expected) => {
    answer(tagsPage(tags));
    expect(await listTags(watched.client, "a")).toEqual(expected);
  });

  test.each(["<html>log in</html>", "", "[]", '{"tags":"v1"}', '{"tags":{"v1":1}}', '{"tags":["v1"'])(
    "what is no list fails: %s",
    async (body) => {
      answer({ status: 200, body: [Buffer.from(body)] });
      const error = await failureOf(listTags(watched.client, "a"));
      expect(error.code).toBe("REGISTRY");
      expect(error.message).toContain("not a list");
    },
  );

  test("of a repository that is not there", async () => {
    const error = await failureOf(listTags(watched.client, "no/such"));
    expect(error.code).toBe("NOT_FOUND");
    expect(error.message).toContain("no/such");
  });

  test("a page that breaks off is asked for again", async () => {
    putTags(registry, "a", names);
    registry.customFault(
      "cut",
      { path: /tags/, transform: (reply) => ({ ...reply, cutAfter: 20 }) },
      { times: 1 },
    );
    expect(await listTags(watched.client, "a")).toEqual(names);
  });

  test("a page of more than 16 MiB is cut off", async () => {
    answer({ status: 200, body: [Buffer.alloc(17 * 1024 * 1024, " ")] });
    expect((await failureOf(listTags(watched.client, "a"))).message).toContain("over");
  });

  test("ask for a token to pull", async () => {
    await using closed = await startRegistry({ auth: { type: "bearer", users: {}, anonymousPull: true } });
    putTags(closed, "a", names);
    await using own = connectTo(closed, { plainHttp: true });
    expect(await listTags(own.client, "a")).toEqual(names);
  });
});

describe("repositories", () => {
  test("come sorted, over pages", async () => {
    for (const name of [...names].reverse()) registry.putBlob(name, Buffer.from("x"));
    pages(registry, 10);
    expect(await listRepositories(watched.client)).toEqual(names);
    expect(registry.count("GET", /_catalog/)).toBe(3);
  });

  test("are asked for once more in the registry's own pages where ours are too large", async () => {
    registry.putBlob("a", Buffer.from("x"));
    registry.customFault("small maximum", {
      path: /_catalog/,
      intercept: ({ query }) => {
        if (query.has("n")) query.set("n", "5000");
        return "altered";
      },
    });
    expect(await listRepositories(watched.client)).toEqual(["a"]);
  });

  test.each([401, 403, 404, 405, 501])("a %i means that there is no catalog", async (status) => {
    registry.fault("status", { status, match: { path: /_catalog/ } });
    const error = await failureOf(listRepositories(watched.client));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("no catalog");
    expect(error.hint).toContain(`mirror ls ${registry.host}/`);
  });

  test("a password that is refused is told as such, with where it was found", async () => {
    await using closed = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret" } } });
    const credential = { username: "ada", password: "wr0ng-word", origin: "MIRROR_USERNAME" };
    await using own = connectTo(closed, { plainHttp: true, credential });
    const error = await failureOf(listRepositories(own.client));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("401 (not authenticated)");
    expect(error.message).toContain("credentials from MIRROR_USERNAME");
    expect(error.hint).toContain(`mirror login ${closed.host}`);
    expect(everythingSaid(error)).not.toContain("wr0ng-word");
    await using nobody = connectTo(closed, { plainHttp: true });
    expect((await failureOf(listRepositories(nobody.client))).message).toContain("no catalog");
  });

  test("a proxy that refuses is not taken for a missing catalog", async () => {
    await using proxy = await startProxy({ refuse: 403 });
    const used = proxiesOf({ ALL_PROXY: `http://${proxy.host}` })(new URL("https://a.example"));
    await using behind = connectTo("registry.example", { proxyFor: () => used });
    const error = await failureOf(listRepositories(behind.client));
    expect(error.code).toBe("DENIED");
    expect(error.message).toContain(`the proxy ${proxy.host} (ALL_PROXY) does not let us through`);
  });

  test("any other failure stays what it is", async () => {
    registry.fault("status", { status: 500, match: { path: /_catalog/ } });
    const error = await failureOf(listRepositories(watched.client));
    expect(error.message).toContain("500");
    expect(error.message).not.toContain("no catalog");
  });

  test("what is no name is left out", async () => {
    answer(jsonReply(200, { repositories: ["a/b", "../x", "UPPER", null, "a//b", "\u001b[2J", "a/b"] }));
    expect(await listRepositories(watched.client)).toEqual(["a/b"]);
  });

  test("ask for the catalog's own scope", async () => {
    const users = { ada: "s3cret" };
    await using closed = await startRegistry({ auth: { type: "bearer", users } });
    closed.putBlob("a", Buffer.from("x"));
    const credential = { username: "ada", password: "s3cret", origin: "x" };
    await using own = connectTo(closed, { plainHttp: true, credential });
    expect(await listRepositories(own.client)).toEqual(["a"]);
    await using nobody = connectTo(closed, { plainHttp: true });
    const error = await failureOf(listRepositories(nobody.client));
    expect(error.message).toContain("refused anonymous access");
    expect(error.hint).toContain(`mirror login ${closed.host}`);
    expect(everythingSaid(error)).not.toContain("s3cret");
  });
});
