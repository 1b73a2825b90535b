/** A disk that fails in the background: Linux tells of a lost write once, to whoever syncs first. */
import { expect, test } from "vitest";
import { EarlySync } from "../../src/bundle/early-sync.ts";

test("a failed sync in the background is not forgotten, since no later one tells of it again", async () => {
  const datasync = async (): Promise<void> => {
    throw Object.assign(new Error("input/output error"), { code: "EIO" });
  };
  const early = new EarlySync({ datasync });
  early.wrote(256 * 1024 * 1024);
  await early.settled();
  expect(() => early.check()).toThrow("input/output error");
});
