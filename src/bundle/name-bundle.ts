/** The end of a pull: the bundle, which is proved and on the disk, gets its name. */
import { rename } from "node:fs/promises";
import type { Layout } from "./layout.ts";
import type { Part, PartOptions } from "./part.ts";
import { partPath } from "./part-place.ts";
import { nameVolumes } from "./volumes/name-volumes.ts";
import { VolumeParts } from "./volumes/volume-parts.ts";

/** Gives a part its name, or all volumes theirs. Throws DISK, what the system says, or the signal's reason. */
export async function nameBundle(
  { file, shape: { path } }: Pick<Part, "file" | "shape">,
  layout: Layout,
  { signal, onNote }: Pick<PartOptions, "signal" | "onNote">,
): Promise<void> {
  if (!(file instanceof VolumeParts)) return await rename(partPath(path), path);
  onNote?.(`the volumes of ${path} (${file.count}) are hashed for their checksum lists`);
  await nameVolumes(path, file, layout, signal);
}
