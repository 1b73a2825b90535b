/** A registry that goes away in mid-run and comes back: two lines, however many have asked it, and no long wait. */
import { expect, test } from "vitest";
import { startRegistry } from "../registry/registry.ts";
import { runMirror, startMirror } from "../support/cli.ts";
import { makeImage, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

test("an outage of the whole registry is told when it begins and when it is over", async () => {
  await using folder = await tempDir();
  await using registry = await startRegistry();
  const names: string[] = [];
  for (let number = 0; number < 12; number += 1) {
    seed(registry, `team/app-${number}`, "1.0", await makeImage({ seed: `${number}` }));
    names.push(`${registry.host}/team/app-${number}:1.0`);
  }
  const outage = registry.fault("status", { status: 503, match: { path: /\/blobs\// } });
  await using running = await startMirror(["pull", ...names, "--to", folder.join("b.tar")]);
  await running.until(/^retrying/m);
  await expect.poll(() => outage.hits, { timeout: 30_000 }).toBeGreaterThan(16);
  outage.remove();
  const { code, stderr } = await running.result;
  expect(code, stderr).toBe(0);
  expect(stderr.match(/^retrying /gm), stderr).toHaveLength(1);
  expect(stderr.match(/^back: \S+ answers again$/gm), stderr).toHaveLength(1);
});

test("one failure of one request is no outage", async () => {
  await using folder = await tempDir();
  await using registry = await startRegistry();
  seed(registry, "team/app", "1.0", await makeImage());
  registry.fault("status", { status: 503, times: 1, match: { path: /\/blobs\// } });
  const args = ["pull", `${registry.host}/team/app:1.0`, "--to", folder.join("b.tar")];
  const { code, stderr } = await runMirror(args);
  expect(code, stderr).toBe(0);
  expect(stderr.match(/^retrying /gm)).toHaveLength(1);
  expect(stderr).not.toContain("back:");
});
