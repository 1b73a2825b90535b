/** The parts of volumes as one file: whatever is done to them, they hold what one file would. */
import { open, readFile } from "node:fs/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readInto, writeAll } from "../../../src/bundle/disk.ts";
import { slicesOf, volumeCount, volumeSize } from "../../../src/bundle/volumes/geometry.ts";
import { volumePartPath, volumePath } from "../../../src/bundle/volumes/names.ts";
import { findParts, VolumeParts } from "../../../src/bundle/volumes/volume-parts.ts";
import { tempDir } from "../../support/temp.ts";

const sizes = { volumeBytes: fc.integer({ min: 1, max: 50 }), total: fc.integer({ min: 1, max: 400 }) };

test("slices cover what they are asked for, in order, and never leave their volume", () => {
  const range = fc.record({ ...sizes, from: fc.nat(399), length: fc.nat(400) });
  fc.assert(
    fc.property(range, ({ volumeBytes, total, from, length }) => {
      const wanted = Math.max(0, Math.min(length, total - from));
      let next = from;
      for (const slice of slicesOf(from, wanted, volumeBytes)) {
        expect((slice.volume - 1) * volumeBytes + slice.at).toBe(next);
        expect(slice.length).toBeGreaterThan(0);
        expect(slice.at + slice.length).toBeLessThanOrEqual(volumeSize(slice.volume, total, volumeBytes));
        next += slice.length;
      }
      expect(next).toBe(from + wanted);
    }),
  );
});

test("volumes have together the size of the bundle, and their names sort in their order", () => {
  fc.assert(
    fc.property(fc.record(sizes), ({ volumeBytes, total }) => {
      const count = volumeCount(total, volumeBytes);
      const volumes = Array.from({ length: count }, (_, index) => index + 1);
      const bytes = volumes.map((volume) => volumeSize(volume, total, volumeBytes));
      expect(bytes.reduce((sum, size) => sum + size, 0)).toBe(total);
      expect(bytes.every((size) => size > 0)).toBe(true);
      const names = [...volumes, 999, 1000].map((volume) => volumePath("b.tar", volume, 1000));
      expect(names.toSorted()).toEqual(names);
    }),
  );
});

test("parts that are written, truncated and opened again hold what one file would", async () => {
  const step = fc.oneof(
    fc.record({ write: fc.uint8Array({ maxLength: 120 }), cut: fc.nat(120), at: fc.nat(280) }),
    fc.record({ truncate: fc.integer({ min: 1, max: 400 }) }),
    fc.constant({ reopen: true }),
  );
  const runs = fc.record({ ...sizes, steps: fc.array(step, { maxLength: 12 }) });
  await fc.assert(
    fc.asyncProperty(runs, async ({ volumeBytes, total, steps }) => {
      await using folder = await tempDir();
      const path = folder.join("b.tar");
      const model = await open(folder.join("model"), "w+");
      let parts = VolumeParts.create(path, volumeBytes);
      try {
        let size = total;
        for (const file of [model, parts]) await file.truncate(size);
        for (const action of steps) {
          if ("truncate" in action) {
            size = action.truncate;
            for (const file of [model, parts]) await file.truncate(size);
          } else if ("write" in action) {
            const bytes = action.write.subarray(0, Math.max(0, size - action.at));
            const buffers = [bytes.subarray(0, action.cut), bytes.subarray(action.cut)];
            for (const file of [model, parts]) await writeAll(file, buffers, action.at, "test");
          } else {
            await parts.close();
            parts = await VolumeParts.resume(path, volumeBytes);
          }
        }
        const expected = await readFile(folder.join("model"));
        expect((await parts.stat()).size).toBe(BigInt(size));
        expect(await readInto(parts, Buffer.alloc(size), 0, "test")).toEqual(expected);
        expect(await findParts(path, volumeBytes)).toMatchObject({ state: "usable", bytes: size });
        const joined: Buffer[] = [];
        for (let volume = 1; volume <= parts.count; volume += 1)
          joined.push(await readFile(volumePartPath(path, volume)));
        expect(Buffer.concat(joined).equals(expected)).toBe(true);
      } finally {
        await model.close();
        await parts.close();
      }
    }),
    { numRuns: 40 },
  );
});
