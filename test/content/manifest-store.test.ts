import { expect, test } from "vitest";
import { canMount, type Target } from "../../src/content/content.ts";
import { ManifestStore } from "../../src/content/manifest-store.ts";
import { AppError } from "../../src/errors.ts";
import { collect } from "../registry-client/support.ts";
import { makeImage } from "../support/images.ts";

const image = await makeImage();

test("a manifest is kept as the bytes that came", async () => {
  const store = new ManifestStore();
  expect(store.has(image.descriptor.digest)).toBe(false);
  store.put({ descriptor: image.descriptor, bytes: image.manifest });
  expect(store.has(image.descriptor.digest)).toBe(true);
  expect(store.get(image.descriptor.digest)).toEqual(image.manifest);
  const source = store.source(image.descriptor);
  expect(source.isManifest).toBe(true);
  expect(source.descriptor).toBe(image.descriptor);
  expect(await collect(await source.open(0))).toEqual(image.manifest);
  expect(await collect(await source.open(10))).toEqual(image.manifest.subarray(10));
});

test("asking for one that was never read is a defect of ours", () => {
  const { digest } = image.descriptor;
  expect(() => new ManifestStore().get(digest)).toThrow(AppError);
  expect(() => new ManifestStore().source(image.descriptor)).toThrow(digest);
});

test("a target that can mount is told from one that cannot", () => {
  const target: Target = { has: async () => false, push: async () => "stored", tag: async () => undefined };
  expect(canMount(target)).toBe(false);
  expect(canMount({ ...target, mount: async () => true } as Target)).toBe(true);
  expect(canMount({ ...target, mount: true } as Target)).toBe(false);
});
