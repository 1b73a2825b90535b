/** The size of volumes, as the user asks for it. */
import { volumeCount } from "../bundle/volumes/geometry.ts";
import { AppError } from "../errors.ts";
import { byteSizePattern, parseByteSize } from "../list/byte-size.ts";
import { quoted } from "../oci/shown.ts";

/** Smaller volumes are no medium's, and a mistake. Bytes. */
const minBytes = 1024 * 1024;
/** Each volume is an open file. */
const maxVolumes = 9_999;

/** The bytes that a size names; undefined if there is none. Throws USAGE for what is no size, or too small. */
export function volumeSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!byteSizePattern.test(text))
    throw new AppError("USAGE", `Cannot read size ${quoted(text)}: expected a number and a unit`, {
      hint: "write it like --volume-size 4GB or 700MiB",
    });
  const bytes = parseByteSize(text);
  if (bytes >= minBytes) return bytes;
  throw new AppError("USAGE", `Cannot write volumes of ${text}: the least is 1 MiB`, {
    hint: "write it like --volume-size 4GB, which is what FAT32 takes, or 4.7GB for a DVD",
  });
}

/** Throws USAGE if a bundle would take more volumes than anybody could carry. Bytes. */
export function checkVolumes(totalBytes: number, volumeBytes: number | undefined): void {
  const volumes = volumeBytes === undefined ? 1 : volumeCount(totalBytes, volumeBytes);
  if (volumes <= maxVolumes) return;
  throw new AppError("USAGE", `Cannot write ${volumes} volumes: ${maxVolumes} are the most`, {
    hint: "choose larger ones with --volume-size",
  });
}
