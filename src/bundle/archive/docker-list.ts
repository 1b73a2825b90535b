/** Docker's `manifest.json` (docker save, skopeo and podman docker-archive, crane, jib), as it stands. */
import { z } from "zod";
import { parseObject } from "../../oci/json.ts";
import { damagedArchive } from "./archive-error.ts";
import { type ArchiveFiles, readSmall } from "./archive-files.ts";

const maxImages = 10_000;
const maxLayers = 10_000;

const DockerList = z
  .array(
    z.object({
      Config: z.string(),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string()).max(maxLayers).nullish(),
    }),
  )
  .max(maxImages);

/** One image: names of files in the archive. */
export interface DockerItem {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

/** Reads the list; undefined if the archive has none. Throws INTEGRITY if it cannot be read. */
export async function readDockerList(files: ArchiveFiles): Promise<readonly DockerItem[] | undefined> {
  const file = files.find("manifest.json");
  if (file === undefined) return undefined;
  const bytes = await readSmall(files, file);
  try {
    // As a part of an object, it is read by the one reader of JSON that nothing gets past.
    const whole = Buffer.concat([Buffer.from('{"images":'), bytes, Buffer.from("}")]);
    const list = DockerList.parse(parseObject(whole)["images"]);
    return list.map(({ Config, RepoTags, Layers }) => ({
      config: plain(Config),
      tags: RepoTags ?? [],
      layers: (Layers ?? []).map(plain),
    }));
  } catch (error) {
    const state =
      error instanceof z.ZodError
        ? `bad field at ${error.issues[0]?.path.join(".") || "the top"}: ${error.issues[0]?.message}`
        : error instanceof Error
          ? error.message
          : String(error);
    throw damagedArchive(files.path, `its manifest.json is not what Docker writes: ${state}`, error);
  }
}

function plain(name: string): string {
  return name.replace(/^(?:\.\/+)+/, "");
}
