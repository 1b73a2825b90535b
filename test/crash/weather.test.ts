/** What else happens to a pull on a real machine: a disk that is too small or fills up, and a laptop that sleeps. */
import { readdir, rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { interopTools } from "../interop/support/tools.ts";
import { bytesOf, makeContent } from "./support/content.ts";
import { freezeProcess } from "./support/kernel.ts";
import { expectEnd, expectSameBytes, type Place, startPlace } from "./support/place.ts";
import { expectThrift } from "./support/thrift.ts";
import { fillUp, mayMount, mountTmpfs } from "./support/tmpfs.ts";
import { runToEnd, startAttempt } from "./support/victim.ts";

/** On a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const tools = await interopTools();
const images = await makeContent(12_000_000);
const mebibyte = 1024 * 1024;

describe.skipIf(tools === undefined)("a pull", () => {
  let place: Place;
  let undisturbed: string;

  beforeAll(async () => {
    // At full speed much of it lies in the kernel, and is lost with the connections.
    place = await startPlace({ program: tools?.dockerRegistry ?? "", images, rate: 20_000_000 });
    const cwd = await place.work("undisturbed", images);
    await expectEnd(place.pull(cwd), "undisturbed");
    undisturbed = `${cwd}/bundle.tar`;
  });
  afterAll(async () => await place[Symbol.asyncDispose]());

  test.runIf(mayMount)("that does not fit on the disk fetches nothing, and says both figures", async () => {
    const cwd = await place.work("too-small", images);
    using _disk = await mountTmpfs(`${cwd}/disk`, 8 * mebibyte);
    place.relay.forget();
    const pull = place.pull(cwd);
    const { code, stderr } = await runToEnd({ ...pull, args: ["pull", "--to", "disk/bundle.tar"] });
    expect(code).toBe(1);
    expect(stderr).toMatch(/Cannot write .*bundle\.tar: it needs \S+ MiB, and \S+ has \S+ MiB free\n/);
    expect(place.relay.exchanges.filter(({ target }) => /\/blobs\//.test(target))).toEqual([]);
    expect(await readdir(`${cwd}/disk`)).toEqual([]);
  });

  test.runIf(mayMount)("whose disk fills up says so once, and goes on when there is room", async () => {
    const cwd = await place.work("fills-up", images);
    using _disk = await mountTmpfs(`${cwd}/disk`, 16 * mebibyte);
    const { line } = place.relay;
    const pull = { ...place.pull(cwd), args: ["pull", "--to", "disk/bundle.tar", "--concurrency", "2"] };
    const bundle = await bytesOf(undisturbed);
    place.relay.forget();
    line.at({ bytes: line.total + bundle / 2 }, () => {
      fillUp(`${cwd}/disk/filler`);
      line.thaw();
    });
    const { code, stderr } = await runToEnd(pull);
    expect(code, stderr).toBe(1);
    expect(stderr.match(/no space left on the disk/g), stderr).toHaveLength(1);
    expect(stderr).toContain("make room, then run the same command again");
    await rm(`${cwd}/disk/filler`);
    await expectEnd(pull, "with room");
    await expectSameBytes(`${cwd}/disk/bundle.tar`, undisturbed, "after a full disk");
    // As a kill with two connections.
    expectThrift(place.relay, bundle, [{ connections: 2, unread: 0 }], "after a full disk");
  });

  test.each([
    ["and wakes up without its connections", true],
    ["for a moment", false],
  ])("on a laptop that sleeps %s ends well", async (name, breaks) => {
    const cwd = await place.work(`sleeps-${breaks}`, images);
    const { relay } = place;
    const bundle = await bytesOf(undisturbed);
    relay.forget();
    await using running = await startAttempt(place.pull(cwd));
    await new Promise<void>((settle) => relay.line.at({ bytes: relay.line.total + bundle / 2 }, settle));
    await freezeProcess(running.pid);
    const { blobConnections } = relay;
    if (breaks) relay.drop();
    relay.line.thaw();
    running.kill("SIGCONT");
    const { code, stderr } = await running.result;
    expect(code, stderr).toBe(0);
    await expectSameBytes(`${cwd}/bundle.tar`, undisturbed, name);
    expectThrift(relay, bundle, [{ connections: blobConnections, unread: 0 }], name);
  });
});
