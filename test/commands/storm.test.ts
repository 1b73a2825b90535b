/** A registry that answers every third request with 429: all ends well, and everybody pauses together. */
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../registry/registry.ts";
import { runMirror } from "../support/cli.ts";
import { makeImage, makeIndex, seed } from "../support/images.ts";
import { tempDir } from "../support/temp.ts";

/** Turns on the storm; with `retryAfter`, each refusal says for how many seconds. */
function storm(registry: TestRegistry, retryAfter?: number): void {
  let count = 0;
  registry.customFault("storm", {
    path: /^\//,
    intercept: () => {
      count += 1;
      if (count % 3 !== 0) return undefined;
      return {
        status: 429,
        ...(retryAfter === undefined ? {} : { headers: { "retry-after": `${retryAfter}` } }),
      };
    },
  });
}

/** Requests that began while all should have stayed away: after a refusal was told, before its second was over. */
function impatient(registry: TestRegistry): readonly string[] {
  // Those that were on their way already when the refusal came are nobody's fault.
  const graceMs = 250;
  return registry.requests
    .filter(({ status }) => status === 429)
    .flatMap(({ endedAt = 0 }) =>
      registry.requests
        .filter(({ startedAt }) => startedAt > endedAt + graceMs && startedAt < endedAt + 950)
        .map(({ method, url }) => `${method} ${url}`),
    );
}

test("pull, push and sync through storms of 429 end well, and the log shows the pauses", async () => {
  await using folder = await tempDir();
  await using source = await startRegistry();
  await using target = await startRegistry();
  await using other = await startRegistry();
  const children = await Promise.all(
    ["linux/amd64", "linux/arm64"].map((platform) =>
      makeImage({ platform, seed: platform, layers: [4000, 5000] }),
    ),
  );
  const names = ["team/web:1.0", "team/api:1.0"];
  seed(source, "team/web", "1.0", makeIndex(children));
  seed(source, "team/api", "1.0", await makeImage({ seed: "api", layers: [3000] }));
  await writeFile(folder.join("list.txt"), names.map((name) => `${source.host}/${name}\n`).join(""));
  const mirror = async (...args: readonly string[]): Promise<void> => {
    const result = await runMirror(args, { cwd: folder.path });
    expect(result.code, result.stderr).toBe(0);
  };

  storm(source, 1);
  storm(target);
  storm(other);
  await mirror("pull", "-f", "list.txt", "--to", "bundle.tar");
  const limited = source.requests.filter(({ status }) => status === 429).length;
  expect(limited).toBeGreaterThan(2);
  // Pauses, not tries: hardly more requests than those that were needed.
  expect(source.requests.length).toBeLessThan(1.8 * (source.requests.length - limited));
  expect(impatient(source)).toEqual([]);
  source.clearFaults();
  await mirror("push", "bundle.tar", "--registry", target.host);
  await mirror("sync", "-f", "list.txt", "--registry", other.host);
  for (const registry of [target, other]) {
    expect(registry.requests.filter(({ status }) => status === 429).length).toBeGreaterThan(2);
    registry.clearFaults();
    await mirror("verify", "bundle.tar", "--registry", registry.host);
  }
});
