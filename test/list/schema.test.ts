import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { jsonSchema, knownKeys } from "../../src/list/schema.ts";

it("the JSON Schema for editors is that of this version (make it with: node test/tools/make-schema.ts)", async () => {
  const text = await readFile(new URL("../../manifests.schema.json", import.meta.url), "utf8");
  expect(text).toBe(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
});

/** Every schema below `schema` that describes a value of a key, with the key. */
function properties(schema: unknown): [string, unknown][] {
  if (typeof schema !== "object" || schema === null) return [];
  return Object.entries<unknown>({ ...schema }).flatMap(([name, value]) => {
    const own =
      name === "properties" && typeof value === "object" ? Object.entries<unknown>({ ...value }) : [];
    return [...own, ...properties(value)];
  });
}

it("describes every key", () => {
  const found = properties(jsonSchema());
  const keys = [
    "version",
    "defaults",
    "registries",
    "images",
    "image",
    "platforms",
    "as",
    "tags",
    "chunkSize",
  ];
  expect(found.map(([key]) => key)).toEqual(expect.arrayContaining(keys));
  for (const [key, schema] of found)
    expect(schema, key).toHaveProperty("description", expect.stringMatching(/\.$/));
});

it("proposes no key that is refused", () => {
  expect(knownKeys(["images", 0]).keys).toEqual(["image", "platforms", "as"]);
});
