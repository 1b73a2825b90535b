/** Rows 48 and 49 of the fault list: pages, and what is on them. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { listRepositories, listTags } from "../../src/registry/listing.ts";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { failureOf, type Watched } from "../registry-client/support.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { allTests } from "../support/lifetimes.ts";
import { type Certificates, makeCertificates } from "../support/tls.ts";
import { type Connect, surviving } from "./support.ts";

const image = await makeImage();
const names = Array.from({ length: 25 }, (_, index) => `t${String(index).padStart(2, "0")}`);
let certificates: Certificates;
allTests(makeCertificates, (made) => {
  certificates = made;
});

let registry: TestRegistry;
beforeEach(async () => {
  registry = await startRegistry({ dialect: "3" });
  putTags(registry);
});
afterEach(async () => await registry.close());

function putTags(to: TestRegistry): void {
  for (const tag of names) to.putManifest("a", tag, image.manifest, image.descriptor.mediaType);
}
const again = async (connect: Connect): Promise<void> => {
  expect(await listTags(connect(registry, { plainHttp: true }).client, "a")).toEqual(names);
};
const plain = async <T>(run: (watched: Watched) => Promise<T>): Promise<T> =>
  await surviving({ registries: [registry], again }, async (connect) =>
    run(connect(registry, { plainHttp: true })),
  );

test.each([
  ["a relative path", (link: string) => link],
  ["an absolute URL", (link: string) => link.replace("</", `<${registry.url}/`)],
  ["rel without quotes", (link: string) => link.replace('"next"', "next")],
  ["rel in other letters, with blanks", (link: string) => link.replace('rel="next"', 'REL = "Next"')],
  ["several relations in one", (link: string) => link.replace('"next"', '"last next"')],
  ["parameters before rel", (link: string) => link.replace("; rel", '; title="a, b; rel=prev"; rel')],
  ["parameters after rel", (link: string) => `${link}; results="true"`],
  ["no angle brackets", (link: string) => link.replace(/[<>]/g, "")],
  ["a comma in the URL", (link: string) => link.replace("?", "?opaque=a,b;c&")],
  ["several links", (link: string) => `</v2/x?n=1,2>; rel="prev", ${link}, </v2/y>; rel="last"`],
  ["several headers", (link: string) => ['</v2/x>; rel="prev"', link]],
  ["a title that looks like another", (link: string) => `</v2/x>; title="<x>; rel=next"; rel=prev, ${link}`],
])("row 48: the next page is found: %s", async (_name, link) => {
  registry.fault("small-pages", { link });
  await plain(async ({ client, warnings }) => {
    expect(await listTags(client, "a")).toEqual(names);
    expect(warnings).toEqual([]);
  });
});

test("row 48: http on an https host is a proxy's doing, and stays https", async () => {
  await using secure = await startRegistry({ dialect: "3", tls: certificates.server });
  putTags(secure);
  secure.fault("small-pages", { link: (link) => link.replace("</", `<http://${secure.host}/`) });
  await surviving({ registries: [secure] }, async (connect) => {
    expect(await listTags(connect(secure, { ca: [certificates.ca.cert] }).client, "a")).toEqual(names);
  });
});

test("row 48: a page on another host is refused, and not asked for", async () => {
  await using other = await startRegistry();
  registry.fault("small-pages", { link: (link) => link.replace("</", `<${other.url}/`) });
  const error = await plain(async ({ client }) => await failureOf(listTags(client, "a")));
  expect([error.code, error.message]).toEqual(["REGISTRY", expect.stringContaining(other.host)]);
  expect(other.requests).toEqual([]);
});

test.each([
  ["one that leads to itself", { cursor: false }, 3],
  ["cursors without end, always the same tag", {}, 102],
  ["cursors without end, nothing on them", { tags: [] }, 102],
  ["cursors without end, always a new tag", { tags: (page: number) => [`v${page}`] }, 10_001],
] as const)(
  "row 48: pages without end are given up: %s",
  async (_name, options, most) => {
    registry.fault("endless-pages", options);
    const error = await plain(async ({ client }) => await failureOf(listTags(client, "a")));
    expect([error.code, error.message]).toEqual(["REGISTRY", expect.stringContaining("never end")]);
    expect(registry.count("GET", /tags\/list/)).toBeLessThanOrEqual(most);
  },
  120_000,
);

test("row 48: more entries than anybody has are given up", async () => {
  const tags = (page: number): readonly string[] =>
    Array.from({ length: 60_000 }, (_, index) => `${page}-${index}`);
  registry.fault("endless-pages", { tags });
  const error = await plain(async ({ client }) => await failureOf(listTags(client, "a")));
  expect(error.message).toContain("more than 1000000");
}, 30_000);

test("row 48: an empty page, and one that repeats what came before since the list has moved", async () => {
  const pages = [["t00", "t01"], [], ["t01"], ["t01", "t02"]];
  registry.fault("endless-pages", { tags: (page) => pages[page - 1] ?? [] });
  registry.customFault("the last page", {
    path: /tags\/list$/,
    transform: (reply, { query }) => {
      if (query.get("cursor") !== "3") return undefined;
      const { link: _link, ...headers } = reply.headers ?? {};
      return { ...reply, headers };
    },
  });
  await plain(async ({ client }) => {
    expect(await listTags(client, "a")).toEqual(["t00", "t01", "t02"]);
  });
});

test.each([
  ["null", null],
  ["missing", undefined],
  ["empty", []],
])("row 49: tags that are %s are none", async (_name, tags) => {
  registry.fault("odd-tags", { tags });
  await plain(async ({ client, warnings }) => {
    expect(await listTags(client, "a")).toEqual([]);
    expect(warnings).toEqual([]);
  });
});

test.each(['{"tags":"v1"}', '{"tags":{"v1":1}}', '{"tags":["v1"', "[]", "<html>log in</html>", ""])(
  "row 49: what is no list fails: %s",
  async (body) => {
    registry.fault("odd-tags", { body });
    const error = await plain(async ({ client }) => await failureOf(listTags(client, "a")));
    expect([error.code, error.message]).toEqual(["REGISTRY", expect.stringContaining("not a list")]);
  },
);

test("row 49: entries that are no tags are left out, counted in one warning, and cannot write on a terminal", async () => {
  const odd = [null, "", "\u001b[2J\u0007", "sha256:abc", "../x", "x".repeat(300), 5, {}];
  registry.fault("odd-tags", { tags: ["v2", ...odd, "v1", "v1"] });
  await plain(async ({ client, warnings }) => {
    expect(await listTags(client, "a")).toEqual(["v1", "v2"]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`${odd.length} entries were left out`);
    expect(warnings[0]).toContain(`${registry.host}/a`);
    expect(warnings[0]).not.toMatch(/\p{Cc}/u);
    expect(warnings[0]?.length).toBeLessThan(400);
  });
  const result = await runMirror(["ls", `${registry.host}/a`]);
  expect(result.stderr).not.toContain("\u0007");
});

test.each([true, false])(
  "a catalog that gives no large pages is read in its own (coded: %s)",
  async (coded) => {
    registry.fault("page-maximum", { coded });
    await plain(async ({ client }) => expect(await listRepositories(client)).toEqual(["a"]));
  },
);

test.each([401, 403, 404, 405, 501])(
  "no catalog (%i): the way out is to name a repository",
  async (status) => {
    registry.fault("no-catalog", { status });
    const result = await runMirror(["ls", registry.host]);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain("no catalog");
    expect(result.stderr).toContain(`mirror ls ${registry.host}/REPOSITORY`);
  },
);

test("repositories that cannot be read are warnings, and the others are listed", async () => {
  for (const name of ["b", "c"]) seed(registry, name, "v1", image);
  registry.fault("status", { status: 403, match: { path: /\/b\/tags/ } });
  const result = await runMirror(["ls", registry.host]);
  expect(result.code, result.stderr).toBe(0);
  expect(result.stdout.trim().split("\n")).toContain(`${registry.host}/c:v1`);
  expect(result.stderr).toMatch(/^warning: Cannot list the tags of .*\/b/m);
});

test("a registry none of whose repositories can be read is an error", async () => {
  registry.fault("status", { status: 403, match: { path: /\/tags\// } });
  const result = await runMirror(["ls", registry.host]);
  expect(result.code).toBe(1);
});
