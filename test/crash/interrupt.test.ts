/** Ctrl-C and SIGTERM in every phase of a run: exit code 130, the command to go on, and a run that goes on. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { upload } from "../interop/support/corpus.ts";
import { interopTools } from "../interop/support/tools.ts";
import { bytesOf, makeContent, makeMoved } from "./support/content.ts";
import { type Interruption, interrupt } from "./support/interruption.ts";
import { copyLeftovers, expectEnd, expectSameBytes, type Place, startPlace } from "./support/place.ts";
import { completeImages, startTarget } from "./support/target.ts";
import { runUntil } from "./support/victim.ts";

/** On a machine that may be busy. Milliseconds. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const tools = await interopTools();
const program = tools?.dockerRegistry ?? "";
const size = 10_000_000;
const images = await makeContent(size);
/** The promise is two seconds (npm run torture measures it); this machine may be busy. Milliseconds. */
const soon = 15_000;

function expectInterrupted({ result, ms }: Interruption, command: string): void {
  expect(result.code, result.stderr).toBe(130);
  expect(result.stderr).toContain(`Error: interrupted\n  hint: run it again to go on: mirror ${command}`);
  expect(result.stderr).not.toMatch(/^failed/m);
  expect(ms).toBeLessThan(soon);
}

describe.skipIf(tools === undefined)("an interruption", () => {
  let place: Place;
  let undisturbed: string;
  /** The folder of a pull that was killed half way. */
  let half: string;

  beforeAll(async () => {
    place = await startPlace({ program, images, rate: 20_000_000 });
    const cwd = await place.work("undisturbed", images);
    await expectEnd(place.pull(cwd), "undisturbed");
    undisturbed = `${cwd}/bundle.tar`;
    half = await place.work("half", images);
    const moment = { bytes: place.relay.line.total + size * 0.7 };
    // One blob at a time: the largest one is there for sure, and noted.
    const { kill } = await runUntil(place.pull(half, "--concurrency", "1"), moment);
    expect(kill).toBeDefined();
  });
  afterAll(async () => await place[Symbol.asyncDispose]());

  test.each([
    ["while tags are resolved", "SIGINT", 0],
    ["while blobs are fetched", "SIGTERM", size / 3],
  ] as const)("%s (%s)", async (name, signal, bytes) => {
    const cwd = await place.work(name.replaceAll(" ", "-"), images);
    const moment = { bytes: place.relay.line.total + bytes };
    const pull = place.pull(cwd);
    expectInterrupted(await interrupt(pull, { moment }, signal), "pull --to bundle.tar");
    await expectEnd(pull, name);
    await expectSameBytes(`${cwd}/bundle.tar`, undisturbed, name);
  });

  test("while what is there is proved (SIGINT)", async () => {
    const cwd = await place.work("proving", images);
    await copyLeftovers(half, cwd);
    const pull = place.pull(cwd);
    expectInterrupted(await interrupt(pull, { point: "blob:begun#1" }, "SIGINT"), "pull --to bundle.tar");
    await expectEnd(pull, "proving");
    await expectSameBytes(`${cwd}/bundle.tar`, undisturbed, "proving");
  });

  test("while an upload is under way, and again when nothing can be cancelled (SIGTERM, SIGINT)", async () => {
    await using target = await startTarget(program);
    const cwd = await place.work("upload", images);
    const args = ["push", undisturbed, "--registry", target.relay.host];
    const push = { args, cwd, relay: target.relay };
    const moment = { bytes: size / 2 };
    expectInterrupted(await interrupt(push, { moment }, "SIGTERM"), args.join(" "));
    const again = { bytes: target.relay.line.total + 1 };
    const { result, ms } = await interrupt(push, { moment: again }, "SIGINTs");
    // One that comes when all is said ends the process itself: shells make 130 of that.
    const { code, signal } = result;
    expect([code, signal]).toEqual(signal === null ? [130, null] : [null, "SIGINT"]);
    expect(ms).toBeLessThan(soon);
    await expectEnd(push, "push");
    expect(await completeImages(target, images)).toEqual(images);
  });

  // Last: the tag stays where it is.
  test("while content moves to its place in another layout (SIGTERM)", async () => {
    await upload(place.registry.url, [await makeMoved(size)]);
    const other = await place.work("moved", images);
    await expectEnd(place.pull(other), "moved");
    const cwd = await place.work("moving", images);
    await copyLeftovers(half, cwd);
    const pull = place.pull(cwd);
    expectInterrupted(await interrupt(pull, { point: "move:noted#1" }, "SIGTERM"), "pull --to bundle.tar");
    await expectEnd(pull, "moving");
    await expectSameBytes(`${cwd}/bundle.tar`, `${other}/bundle.tar`, "moving");
    expect(await bytesOf(`${other}/bundle.tar`)).not.toBe(await bytesOf(undisturbed));
  });
});
