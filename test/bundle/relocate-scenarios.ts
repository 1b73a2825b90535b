/** Bundles of some of the same blobs, to move from one to the other. */
import fc from "fast-check";
import { expect } from "vitest";
import type { Claim } from "../../src/bundle/claims.ts";
import type { Layout } from "../../src/bundle/layout.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobsOf, bytesOf, layoutOf, type Part, partOf } from "./relocate-support.ts";

/** What a bundle is made of. */
export interface Bundle {
  /** Which blobs, in their order. */
  readonly order: readonly number[];
  readonly metadataBytes: number;
}

export interface Scenario {
  readonly sizes: readonly number[];
  /** How much of each blob there is: hundredths. */
  readonly parts: readonly number[];
  readonly bundles: readonly [Bundle, Bundle, Bundle];
  readonly pieceBytes: number;
}

/** Three bundles of some of the same blobs, each with its order or in no order. */
export function scenarios(count: number, largest: number, ordered: boolean): fc.Arbitrary<Scenario> {
  const all = Array.from({ length: count }, (_, at) => at);
  const most = { minLength: count - 2 };
  const bundle = fc.record({
    order: ordered
      ? fc.subarray(all, most)
      : fc.oneof(fc.shuffledSubarray(all, most), fc.subarray(all, most)),
    metadataBytes: fc.nat({ max: 3000 }),
  });
  return fc.record({
    sizes: fc.array(fc.oneof(fc.nat({ max: 1500 }), fc.nat({ max: largest })), {
      minLength: count,
      maxLength: count,
    }),
    parts: fc.array(fc.oneof(fc.constant(100), fc.nat({ max: 100 })), {
      minLength: count,
      maxLength: count,
    }),
    bundles: fc.tuple(bundle, bundle, bundle),
    pieceBytes: fc.integer({ min: 300, max: 20_000 }),
  });
}

export interface Bundles {
  readonly from: Layout;
  readonly to: Layout;
  readonly third: Layout;
  readonly contents: Contents;
  /** Makes a part of the first layout with what there is of the contents. */
  readonly makePart: () => Promise<Part>;
}

/** Makes the layouts and contents of a scenario. */
export async function setUp({ sizes, parts, bundles, pieceBytes }: Scenario): Promise<Bundles> {
  const blobs = blobsOf(sizes);
  const [from, to, third] = await Promise.all([
    bundleOf(blobs, bundles[0]),
    bundleOf(blobs, bundles[1]),
    bundleOf(blobs, bundles[2]),
  ]);
  const contents = blobs.flatMap((bytes, at) => {
    const entry = from.blobs.get(digestOf(bytes));
    const got = Math.ceil((bytes.byteLength * (parts[at] ?? 0)) / 100);
    return entry === undefined
      ? []
      : [{ claim: { digest: entry.digest, at: entry.contentOffset, got }, bytes }];
  });
  return { from, to, third, contents, makePart: () => partOf(from.totalBytes, contents, pieceBytes) };
}

async function bundleOf(blobs: readonly Buffer[], { order, metadataBytes }: Bundle): Promise<Layout> {
  const chosen = order.flatMap((at) => blobs[at] ?? []);
  return await layoutOf(chosen, metadataBytes);
}

export type Contents = readonly { readonly claim: Claim; readonly bytes: Buffer }[];

/** Everything of these contents that the layout has a place for is there, and nothing else is claimed. */
export async function expectMoved(
  part: Part,
  contents: Contents,
  layout: Layout,
  found: ReadonlyMap<Digest, Claim>,
): Promise<void> {
  const expected = contents.flatMap(({ claim: { digest, got } }) => {
    const entry = layout.blobs.get(digest);
    return entry === undefined || got === 0
      ? []
      : [[digest, { digest, at: entry.contentOffset, got }] as const];
  });
  expect(new Map(found)).toEqual(new Map(expected));
  for (const { claim, bytes } of contents) {
    const moved = found.get(claim.digest);
    if (moved === undefined) continue;
    expect((await part.read(moved)).equals(bytes.subarray(0, claim.got))).toBe(true);
    expect(part.log.claims.get(claim.digest)).toEqual(moved);
  }
  expect(part.log.pending).toBeUndefined();
  expect(bytesOf(part.spillPath)).toBe(0);
}
