import fc from "fast-check";
import { expect, test } from "vitest";
import { layOutPlan } from "../../src/cli/bundle-plan.ts";
import { ManifestStore } from "../../src/content/manifest-store.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { NodeRole } from "../../src/sync/node.ts";
import { type Plan, type PlannedImage, withoutImages } from "../../src/sync/plan.ts";

const node = (role: NodeRole, name: number, size = name) => ({
  role,
  descriptor: { mediaType: mediaTypes.ociLayer, digest: digestOf(Buffer.from(`${role} ${name}`)), size },
});

/** An image of some of a common stock of configs and layers. */
const someImage = fc
  .tuple(
    fc.nat({ max: 1000 }),
    fc.nat({ max: 5 }),
    fc.uniqueArray(fc.nat({ max: 15 }), { minLength: 1, maxLength: 6 }),
  )
  .map(
    ([id, config, layers]): PlannedImage => ({
      source: `registry.test/app:${id}`,
      target: { repository: "app", tag: `${id}` },
      root: node("manifest", id).descriptor,
      platforms: [],
      nodes: [node("config", config), ...layers.map((layer) => node("layer", layer)), node("manifest", id)],
      unchanged: false,
    }),
  );
const somePlan = fc
  .uniqueArray(someImage, { minLength: 2, maxLength: 6, selector: ({ source }) => source })
  .map(
    (images): Plan => ({
      version: 1,
      images,
      totals: { images: images.length, unchanged: 0, blobs: 0, bytes: 0 },
    }),
  );

test("without some of the images, what stays keeps its order, so that nothing moves towards the end", async () => {
  await fc.assert(
    fc.asyncProperty(somePlan, fc.nat(), async (plan, which) => {
      const manifests = new ManifestStore();
      const dropped = plan.images[which % plan.images.length];
      if (dropped === undefined) return;
      const whole = await layOutPlan(plan, manifests);
      const rest = await layOutPlan(withoutImages(plan, new Set([dropped])), manifests);
      const digests = [...rest.blobs.keys()];
      expect(digests).toEqual([...whole.blobs.keys()].filter((digest) => rest.blobs.has(digest)));
      for (const entry of rest.blobs.values())
        expect(entry.contentOffset).toBeLessThanOrEqual(whole.blobs.get(entry.digest)?.contentOffset ?? -1);
    }),
  );
});

test("what is a config in one image and a layer in another lies among the configs, once", async () => {
  const both = node("config", 1);
  const image = (name: string, nodes: PlannedImage["nodes"]): PlannedImage => ({
    source: `registry.test/${name}:1`,
    target: { repository: name, tag: "1" },
    root: node("manifest", 1).descriptor,
    platforms: [],
    nodes,
    unchanged: false,
  });
  const plan: Plan = {
    version: 1,
    images: [
      image("a", [{ ...both, role: "layer" }, node("layer", 2)]),
      image("b", [both, node("layer", 3)]),
    ],
    totals: { images: 2, unchanged: 0, blobs: 3, bytes: 0 },
  };
  const layout = await layOutPlan(plan, new ManifestStore());
  const [first, ...others] = layout.blobs.keys();
  expect([first, others.length]).toEqual([both.descriptor.digest, 2]);
});
