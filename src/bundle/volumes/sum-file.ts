/**
 * The checksum list of one volume, a small text beside it that `sha256sum -c` takes, too. Comment lines hold what else
 * there is to know: which bundle and which part of it this is, what lies in it, and the front of the bundle (metadata
 * and manifests), so that any volume is of use without the first one.
 */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { z } from "zod";
import { AppError } from "../../errors.ts";
import { Digest, digestOf } from "../../oci/digest.ts";

const Count = z.number().int().nonnegative();
const Description = z.strictObject({
  version: z.literal(1),
  /** The digest of the bundle's mirror.json, which tells bundles apart. */
  bundle: Digest,
  /** The size of all volumes together, and that of each but the last. Bytes. */
  bundleBytes: Count,
  volumeBytes: Count.positive(),
  volume: Count.positive(),
  volumes: Count.positive(),
  /** Where it begins in the bundle, and its size. Bytes. */
  offset: Count,
  size: Count,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** What lies in it: digest, where in the volume, from which byte of the content on, how many bytes. */
  blobs: z.array(z.tuple([Digest, Count, Count, Count])),
  /** The front of the bundle: its size in bytes and its digest. */
  front: z.strictObject({ size: Count, digest: Digest }),
});

/** What a checksum list says of its volume. */
export type VolumeDescription = z.infer<typeof Description>;

/** A checksum list that was read. */
export interface SumFile extends VolumeDescription {
  /** The front of the bundle, as it stands in the list; {@link unpackFront} proves it. */
  readonly packedFront: string;
}

/** No list of ours is longer: a front of hundreds of megabytes, packed. Bytes. */
export const maxSumBytes = 256 * 1024 * 1024;
const maxFrontBytes = 512 * 1024 * 1024;
const about = "# mirror-volume ";
const frontMark = "# front ";

/** Packs the front of a bundle for {@link formatSumFile}. */
export async function packFront(front: Uint8Array): Promise<Buffer> {
  const packed = await promisify(gzip)(front);
  return Buffer.from(packed.toString("base64"), "latin1");
}

/** The front of the bundle, proved. Throws INTEGRITY if it is damaged. */
export async function unpackFront({ packedFront, front }: SumFile): Promise<Buffer> {
  const options = { maxOutputLength: Math.min(front.size, maxFrontBytes) };
  const bytes = await promisify(gunzip)(Buffer.from(packedFront, "base64"), options).catch(() => undefined);
  if (bytes !== undefined && digestOf(bytes) === front.digest) return bytes;
  throw new AppError("INTEGRITY", "the front of the bundle in it is damaged");
}

/**
 * The text of a checksum list, in pieces: the front, which may be large, is the same for all of them. `name` is the file
 * name of the volume, and `bundle` that of the whole.
 */
export function formatSumFile(
  description: VolumeDescription,
  packedFront: Buffer,
  { name, bundle, list }: { readonly name: string; readonly bundle: string; readonly list: string },
): readonly Buffer[] {
  const json = JSON.stringify(description);
  const { volume, volumes, offset, size, sha256 } = description;
  const head = [
    `# Volume ${volume} of ${volumes} of ${bundle}: bytes ${offset} to ${offset + size - 1}.`,
    `# To check it: sha256sum -c ${list}`,
    `# To join all volumes: cat ${bundle}.* > ${bundle}`,
    `${about}${json} ${digestOf(Buffer.from(json))}`,
    frontMark,
  ].join("\n");
  return [Buffer.from(head), packedFront, Buffer.from(`\n${sha256}  ${name}\n`)];
}

/** Reads a checksum list; undefined if it is damaged or none of ours. Throws BUNDLE for another version. */
export function parseSumFile(text: string): SumFile | undefined {
  const lines = text.split("\n");
  const sealed = lines.find((line) => line.startsWith(about))?.slice(about.length);
  const front = lines.find((line) => line.startsWith(frontMark))?.slice(frontMark.length);
  const at = sealed?.lastIndexOf(" ") ?? -1;
  const json = sealed?.slice(0, Math.max(at, 0)) ?? "";
  if (sealed === undefined || sealed.slice(at + 1) !== digestOf(Buffer.from(json))) return undefined;
  const document: unknown = JSON.parse(json);
  const parsed = Description.safeParse(document);
  if (!parsed.success) {
    const version = z.looseObject({ version: Count }).safeParse(document).data?.version;
    if (version === undefined || version === 1) return undefined;
    throw new AppError("BUNDLE", `it has format version ${version}, and this program knows version 1`, {
      hint: "use a newer mirror",
    });
  }
  // What `sha256sum` reads has to be what is sealed.
  if (!lines.some((line) => line.startsWith(`${parsed.data.sha256}  `))) return undefined;
  return { ...parsed.data, packedFront: front ?? "" };
}
