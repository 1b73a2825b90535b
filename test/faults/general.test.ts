/** Rows 1 to 14 and 50 of the fault list: challenges, tokens, limits. */
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { makeImage, seed } from "../support/images.ts";
import { surviving } from "./support.ts";

const credential = { username: "ada", password: "s3cret-word", origin: "config.json" };

test("row 9: the ping is open to all, the manifest is not", async () => {
  await using registry = await startRegistry({ auth: { type: "basic", users: { ada: "s3cret-word" } } });
  const image = await makeImage();
  seed(registry, "a", "v1", image);
  registry.fault("status", { status: 200, match: { path: /^\/v2\/$/ }, beforeAuth: true });
  const digest = await surviving({ registries: [registry] }, async (connect) => {
    const watched = connect(registry, { plainHttp: true, credential });
    return (await watched.repository("a").resolve("v1")).digest;
  });
  expect(digest).toBe(image.descriptor.digest);
});
