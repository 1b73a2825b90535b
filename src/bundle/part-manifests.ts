/** The manifests of a bundle, which are in memory before anything is fetched, in few writes. */
import type { ManifestStore } from "../content/manifest-store.ts";
import { AppError } from "../errors.ts";
import { writeAll } from "./disk.ts";
import type { BlobEntry, Layout } from "./layout.ts";
import type { PositionalWriter } from "./positional-file.ts";
import { paddingOf } from "./tar-header.ts";

/** They lie one behind the other, and go so many bytes at a time. */
const batchBytes = 1024 * 1024;

/**
 * Writes all manifests of the layout that the store has, and gives their entries. `name` is for messages. Throws DISK,
 * and INTEGRITY for one of another size than its descriptor says.
 */
export async function writeManifests(
  file: PositionalWriter,
  layout: Layout,
  manifests: ManifestStore,
  name: string,
): Promise<readonly BlobEntry[]> {
  const written = [...layout.blobs.values()].filter(({ digest }) => manifests.has(digest));
  let buffers: Uint8Array[] = [];
  let [begin, end] = [0, 0];
  const flush = async (): Promise<void> => {
    if (buffers.length > 0) await writeAll(file, [Buffer.concat(buffers)], begin, name);
    buffers = [];
  };
  for (const { digest, header, headerOffset, contentOffset, size } of written) {
    if (headerOffset !== end || end - begin > batchBytes) {
      await flush();
      begin = headerOffset;
    }
    const bytes = manifests.get(digest);
    if (bytes.byteLength !== size) {
      const state = `it is ${bytes.byteLength} bytes, and its descriptor says ${size}`;
      throw new AppError("INTEGRITY", `Cannot verify ${digest}: ${state}`);
    }
    buffers.push(header, bytes, Buffer.alloc(paddingOf(size)));
    end = contentOffset + size + paddingOf(size);
  }
  await flush();
  return written;
}
