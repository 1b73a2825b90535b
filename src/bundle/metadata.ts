/**
 * The four small files at the front of a bundle: `oci-layout` and `index.json` (image-spec image-layout.md) for
 * containerd and OCI readers, `manifest.json` for Docker, and `mirror.json` for what OCI has no place for.
 */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { Descriptor } from "../oci/descriptor.ts";
import { Digest, digestOf } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-types.ts";
import { BundleBase } from "./delta.ts";
import { type BlobSize, type BundleContents, blobPath, type MetadataFile } from "./layout.ts";

/** What Docker's `manifest.json` says of one image: the config and layers of one platform. */
export interface DockerImage {
  readonly config: Digest;
  readonly layers: readonly Digest[];
  /** One of the layers is in zstd. */
  readonly zstd?: true;
}

/** One image of a bundle. */
export interface BundleImage {
  /** The full normal form of the reference it was asked for by: `docker.io/library/nginx:1.27`. */
  readonly source: string;
  /** Repository path and tag in a target registry; no tag for an image known by its digest alone. */
  readonly target: { readonly repository: string; readonly tag?: string | undefined };
  readonly root: Descriptor;
  /** The digest at the source, where a choice of platforms made another root necessary. */
  readonly original?: Digest | undefined;
  readonly docker?: DockerImage | undefined;
  /** No container runtime could unpack it: a chart, a signature. */
  readonly artifact?: true;
  /** Of an archive that has no full name for it: `source` is a tag or the digest, and `target` means nothing. */
  readonly unnamed?: true;
}

const BlobSizes = z.array(z.tuple([Digest, z.number().int().nonnegative()]));
const common = {
  images: z.array(
    z.strictObject({
      source: z.string(),
      target: z.strictObject({ repository: z.string(), tag: z.string().optional() }),
      root: Descriptor.pick({ mediaType: true, digest: true, size: true }),
      original: Digest.optional(),
    }),
  ),
  /** Digests of the other three files. */
  files: z.record(z.string(), Digest),
  /** All content in the order in which it lies in the tar: the offsets follow from it. */
  manifests: BlobSizes,
  configs: BlobSizes,
  layers: BlobSizes,
};
/** Version 2 is that of deltas only: whoever knows version 1 must not take one for a whole bundle. */
const MirrorFile = z.discriminatedUnion("version", [
  z.strictObject({ version: z.literal(1), ...common }),
  z.strictObject({ version: z.literal(2), ...common, base: BundleBase }),
]);
type MirrorFile = z.infer<typeof MirrorFile>;

/** What `mirror.json` says, parsed and proved. */
export interface BundleDescription {
  readonly images: readonly BundleImage[];
  readonly contents: BundleContents;
  /** What it leans on, if it is a delta. */
  readonly base?: BundleBase | undefined;
  /** Digests of the other metadata files by path. */
  readonly files: Readonly<Record<string, Digest>>;
}

export const mirrorFilePath = "mirror.json";
/** What an OCI layout or an archive of Docker's has besides its content, and a bundle in front of `mirror.json`. */
export const foreignFilePaths: ReadonlySet<string> = new Set(["oci-layout", "index.json", "manifest.json"]);
/** The files at the front of a bundle. */
export const metadataPaths: ReadonlySet<string> = new Set([...foreignFilePaths, mirrorFilePath]);
/** No metadata file larger than this is read, in bytes: a table of contents of three million blobs. */
export const maxMetadataBytes = 256 * 1024 * 1024;

/** Makes the metadata files, in the order in which they lie in the bundle. `base`: what a delta leans on. */
export function makeMetadata(
  images: readonly BundleImage[],
  contents: BundleContents,
  base?: BundleBase,
): readonly MetadataFile[] {
  const docker = dockerManifest(images);
  const files: MetadataFile[] = [
    { path: "oci-layout", bytes: json({ imageLayoutVersion: "1.0.0" }) },
    { path: "index.json", bytes: json(ociIndex(images)) },
    // Without a runnable image there is nothing for Docker, and an empty list would be an error to it.
    ...(docker.length === 0 ? [] : [{ path: "manifest.json", bytes: json(docker) }]),
  ];
  const pairs = (blobs: readonly BlobSize[]): [Digest, number][] =>
    blobs.map(({ digest, size }) => [digest, size]);
  const table = {
    images: images.map(({ source, target, root, original }) => ({
      source,
      target: { repository: target.repository, ...(target.tag === undefined ? {} : { tag: target.tag }) },
      root: { mediaType: root.mediaType, digest: root.digest, size: root.size },
      ...(original === undefined ? {} : { original }),
    })),
    files: Object.fromEntries(files.map(({ path, bytes }) => [path, digestOf(bytes)])),
    manifests: pairs(contents.manifests),
    configs: pairs(contents.configs),
    layers: pairs(contents.layers),
  };
  const description: MirrorFile =
    base === undefined ? { version: 1, ...table } : { version: 2, ...table, base };
  return [...files, { path: mirrorFilePath, bytes: seal(description) }];
}

/**
 * Reads `mirror.json`. Its last field is the digest of all the others, and the bytes must be exactly what we
 * would write, so no flipped bit goes unseen. Throws INTEGRITY if one has, BUNDLE for another version.
 */
export function readMirrorFile(bytes: Buffer): BundleDescription {
  const damaged = (cause?: unknown): AppError =>
    new AppError(
      "INTEGRITY",
      "Cannot verify mirror.json: it is damaged, and with it the table of contents of the bundle",
      {
        hint: "copy the bundle again, or pull it again",
        cause,
      },
    );
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw damaged(error);
  }
  if (typeof document !== "object" || document === null) throw damaged();
  const { checksum: _, ...rest } = document as { checksum?: unknown } & Record<string, unknown>;
  const parsed = MirrorFile.safeParse(rest);
  if (
    !parsed.success &&
    "version" in rest &&
    ![1, 2].includes(Number(rest["version"])) &&
    seal(rest).equals(bytes)
  ) {
    throw new AppError(
      "BUNDLE",
      `Cannot read the bundle: it has format version ${JSON.stringify(rest["version"])}, and this program knows versions 1 and 2`,
      {
        hint: "use a newer mirror",
      },
    );
  }
  if (!parsed.success || !seal(parsed.data).equals(bytes)) throw damaged(parsed.error);
  const sizes = (pairs: z.infer<typeof BlobSizes>): BlobSize[] =>
    pairs.map(([digest, size]) => ({ digest, size }));
  const { images, files, manifests, configs, layers } = parsed.data;
  return {
    images,
    files,
    ...("base" in parsed.data ? { base: parsed.data.base } : {}),
    contents: { manifests: sizes(manifests), configs: sizes(configs), layers: sizes(layers) },
  };
}

function ociIndex(images: readonly BundleImage[]): unknown {
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    // Artifacts last: ctr stops unpacking at the first entry that is no image.
    manifests: [...images]
      .sort((a, b) => Number(a.artifact === true) - Number(b.artifact === true))
      .map((image) => ({
        mediaType: image.root.mediaType,
        digest: image.root.digest,
        size: image.root.size,
        annotations: {
          "io.containerd.image.name": imageName(image),
          // The bare tag is what skopeo and oras expect of a bundle of one image; of several, tags would collide.
          "org.opencontainers.image.ref.name":
            images.length === 1 && image.target.tag ? image.target.tag : imageName(image),
        },
      })),
  };
}

function dockerManifest(images: readonly BundleImage[]): unknown[] {
  const items = images.flatMap((image) => {
    const name = imageName(image);
    // Docker takes tagged names only.
    return image.docker === undefined || name.includes("@") ? [] : [{ name, ...image.docker }];
  });
  // Docker before 23 cannot read zstd, stops at the first such image, and has loaded all those before it.
  return items
    .sort((a, b) => Number(a.zstd === true) - Number(b.zstd === true))
    .map(({ name, config, layers }) => ({
      Config: blobPath(config),
      RepoTags: [name],
      Layers: layers.map(blobPath),
    }));
}

/** `repository:tag` of the source; where both tag and digest were asked for, the tag is the name. */
export function imageName(image: Pick<BundleImage, "source">): string {
  const at = image.source.indexOf("@");
  const named = at < 0 ? image.source : image.source.slice(0, at);
  return named.lastIndexOf(":") > named.lastIndexOf("/") ? named : image.source;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function seal(description: object): Buffer {
  return json({ ...description, checksum: digestOf(json(description)) });
}
