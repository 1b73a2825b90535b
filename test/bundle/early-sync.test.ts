/** A disk that fails in the background: Linux tells of a lost write once, to whoever syncs first. */
import { expect, test } from "vitest";
import { EarlySync } from "../../src/bundle/early-sync.ts";
import { FakeClock } from "../registry-client/support.ts";

const mebibyte = 1024 * 1024;

test("a failed sync in the background is not forgotten, since no later one tells of it again", async () => {
  const datasync = async (): Promise<void> => {
    throw Object.assign(new Error("input/output error"), { code: "EIO" });
  };
  const early = new EarlySync({ datasync, close: async () => undefined });
  early.wrote(256 * 1024 * 1024);
  await early.settled();
  expect(() => early.check()).toThrow("input/output error");
});

/** A file whose syncs end when the test says so; closing it waits for them, as Node does it. */
class SlowFile {
  readonly clock = new FakeClock();
  readonly syncs: (() => void)[] = [];
  readonly early = new EarlySync(this, this.clock);

  async datasync(): Promise<void> {
    await new Promise<void>((resolve) => this.syncs.push(resolve));
  }

  async close(): Promise<void> {
    await this.early.settled();
  }
}

test("a sync that takes long is not waited for by whoever leaves the file", async () => {
  const { early, syncs } = new SlowFile();
  early.wrote(256 * mebibyte);
  await early.leave();
  expect(syncs).toHaveLength(1);
});

test("a slow disk gets less to do at a time, since a process cannot end in the middle of it", async () => {
  const { early, syncs, clock } = new SlowFile();
  early.wrote(256 * mebibyte);
  // 20 MiB a second.
  await clock.sleep(12_800);
  syncs[0]?.();
  await early.settled();
  early.wrote(9 * mebibyte);
  expect(syncs).toHaveLength(1);
  early.wrote(mebibyte);
  expect(syncs).toHaveLength(2);
});
