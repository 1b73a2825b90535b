import { describe, expect, test } from "vitest";
import type { Source } from "../../src/content/content.ts";
import { FallbackSource, Place } from "../../src/content/fallback-source.ts";
import { readBlob } from "../../src/content/verify.ts";
import { AppError, type ErrorCode } from "../../src/errors.ts";
import { descriptorOf, FakeClock, failureOf } from "../registry-client/support.ts";
import { randomBytesOf } from "../support/layers.ts";

const bytes = randomBytesOf("fallback", 100_000);
const descriptor = descriptorOf(bytes);
const clock = new FakeClock();

/** A source that gives blobs as `give` says, and notes the offsets at which they were opened. */
function holding(
  give: (offset: number) => AsyncIterable<Uint8Array>,
): Source & { readonly offsets: number[] } {
  const offsets: number[] = [];
  return {
    offsets,
    resolve: async () => descriptor,
    manifest: async () => ({ descriptor, bytes }),
    open: async (_descriptor, { offset = 0 } = {}) => {
      offsets.push(offset);
      return give(offset);
    },
  };
}
const good = () =>
  holding(async function* (offset) {
    yield bytes.subarray(offset);
  });
/** Every call fails. */
function failing(code: ErrorCode): Source {
  const fail = async (): Promise<never> => {
    throw new AppError(code, `it says ${code}`);
  };
  return { resolve: fail, manifest: fail, open: fail };
}
function placed(source: Source): { source: Source; place: Place; warnings: string[] } {
  const warnings: string[] = [];
  return { source, place: new Place("m.internal", (message) => warnings.push(message)), warnings };
}
const read = async (source: FallbackSource, wanted = descriptor): Promise<Buffer> =>
  await readBlob(source, wanted, wanted.size, { clock });

describe("a source with others in front of it", () => {
  test("is not asked while they have everything", async () => {
    const [first, last] = [good(), good()];
    const source = new FallbackSource([placed(first), { source: last }]);
    expect(await read(source)).toEqual(bytes);
    expect([first.offsets, last.offsets]).toEqual([[0], []]);
  });

  test.each(["NOT_FOUND", "NETWORK", "TLS", "AUTH", "DENIED", "REGISTRY", "INTEGRITY"] as const)(
    "helps out after %s, for tags and contents",
    async (code) => {
      const source = new FallbackSource([placed(failing(code)), { source: good() }]);
      expect(await source.resolve("v1")).toEqual(descriptor);
      expect((await source.manifest("v1")).descriptor).toEqual(descriptor);
      expect(await read(source)).toEqual(bytes);
    },
  );

  test.each(["INTERRUPTED", "INTERNAL"] as const)("is not asked after %s", async (code) => {
    const source = new FallbackSource([placed(failing(code)), { source: good() }]);
    expect((await failureOf(source.resolve("v1"))).code).toBe(code);
  });

  test("says what is wrong itself, if all are wrong", async () => {
    const source = new FallbackSource([placed(failing("DENIED")), { source: failing("NOT_FOUND") }]);
    expect((await failureOf(source.resolve("v1"))).code).toBe("NOT_FOUND");
  });

  test("goes on in the middle of what another one began", async () => {
    let opened = false;
    const first = holding(async function* (offset) {
      if (!opened) yield bytes.subarray(offset, offset + 60_000);
      opened = true;
      throw new AppError("NETWORK", "gone");
    });
    const last = good();
    expect(await read(new FallbackSource([placed(first), { source: last }]))).toEqual(bytes);
    expect([first.offsets, last.offsets]).toEqual([[0, 60_000], [60_000]]);
  });

  test("never joins what is wrong of another one with its own: the whole comes from it then", async () => {
    let opened = false;
    const first = holding(async function* (offset) {
      if (!opened) yield Buffer.alloc(60_000);
      else if (offset === 0) yield Buffer.alloc(bytes.length);
      opened = true;
      throw new AppError("NETWORK", "gone");
    });
    const last = good();
    expect(await read(new FallbackSource([placed(first), { source: last }]))).toEqual(bytes);
    expect(last.offsets).toEqual([60_000, 0]);
  });

  test("has a second try of its own after the lies of others", async () => {
    const lie = () =>
      holding(async function* () {
        yield Buffer.alloc(bytes.length);
      });
    let tries = 0;
    const last = holding(async function* () {
      tries += 1;
      yield tries === 1 ? Buffer.alloc(bytes.length) : bytes;
    });
    const source = new FallbackSource([placed(lie()), placed(lie()), { source: last }]);
    expect(await read(source)).toEqual(bytes);
    expect(tries).toBe(2);
  });
});

describe("a place", () => {
  test.each([
    ["NETWORK", 1, 1],
    ["TLS", 1, 1],
    ["REGISTRY", 3, 2],
    ["INTEGRITY", 3, 3],
  ] as const)("is left alone after %s, %i times, with %i warnings", async (code, times, told) => {
    let asked = 0;
    const first = failing(code);
    const counted = {
      ...first,
      resolve: async () => {
        asked += 1;
        return await first.resolve("v1");
      },
    };
    const { place, warnings } = placed(first);
    const source = new FallbackSource([{ source: counted, place }, { source: good() }]);
    for (let call = 0; call < 10; call += 1) await source.resolve("v1");
    expect(asked).toBe(times);
    expect(warnings).toHaveLength(told);
    expect(warnings.at(-1)).toContain("m.internal is left out from now on: it says");
  });

  test("where something is missing or not allowed is asked again", async () => {
    for (const code of ["NOT_FOUND", "DENIED", "AUTH"] as const) {
      const { place, warnings, source: first } = placed(failing(code));
      const source = new FallbackSource([{ source: first, place }, { source: good() }]);
      for (let call = 0; call < 10; call += 1) await source.resolve("v1");
      expect(place.usable).toBe(true);
      expect(warnings).toHaveLength(code === "NOT_FOUND" ? 0 : 1);
    }
  });
});
