/** What the benchmark moves: three shapes of content, the same bytes every time. */

/** A blob to be: its content follows from its name. `size` in bytes. */
export interface BlobPlan {
  readonly name: string;
  readonly size: number;
}

/** One platform of an image. */
export interface PlatformPlan {
  readonly os: string;
  readonly architecture: string;
  readonly layers: readonly BlobPlan[];
}

/** One tag. More than one platform makes an index. */
export interface ImagePlan {
  readonly tag: string;
  readonly platforms: readonly PlatformPlan[];
}

/** A shape of content, all in one repository: that is what `oras backup` can take in one file. */
export interface Profile {
  readonly name: string;
  readonly about: string;
  readonly repository: string;
  readonly images: readonly ImagePlan[];
}

const megabyte = 1_000_000;

function count<T>(length: number, make: (index: number) => T): readonly T[] {
  return Array.from({ length }, (_, index) => make(index));
}

/** 29 layers: one under all images, four under two images each, three of each image's own. 2.0 GB. */
function large(): Profile {
  const images = count(8, (image) => ({
    tag: `v${image + 1}`,
    platforms: [
      {
        os: "linux",
        architecture: "amd64",
        layers: [
          { name: "large base", size: 160 * megabyte },
          { name: `large pair ${image >> 1}`, size: 100 * megabyte },
          ...count(3, (layer) => ({ name: `large ${image} ${layer}`, size: 60 * megabyte })),
        ],
      },
    ],
  }));
  return {
    name: "large",
    about: "8 images of 5 incompressible layers, some shared, 2.0 GB",
    repository: "bench/large",
    images,
  };
}

/** 400 images for two platforms: 800 configs, 40 bases, 160 layers of five images, 1,600 of their own: 2,600 blobs. */
function many(): Profile {
  const images = count(400, (image) => ({
    tag: `v${image + 1}`,
    platforms: ["amd64", "arm64"].map((architecture) => ({
      os: "linux",
      architecture,
      layers: [
        { name: `many base ${architecture} ${image % 20}`, size: 400_000 },
        { name: `many five ${architecture} ${Math.floor(image / 5)}`, size: 60_000 },
        ...count(2, (layer) => ({
          name: `many ${architecture} ${image} ${layer}`,
          size: 2_000 + ((image * 7_919 + layer * 104_729) % 60_000),
        })),
      ],
    })),
  }));
  return {
    name: "many",
    about: "400 two-platform images of small layers, 2,600 blobs",
    repository: "bench/many",
    images,
  };
}

function huge(): Profile {
  const layers = [{ name: "huge", size: 4 * 2 ** 30 }];
  return {
    name: "huge",
    about: "one image with one layer of 4 GiB",
    repository: "bench/huge",
    images: [{ tag: "v1", platforms: [{ os: "linux", architecture: "amd64", layers }] }],
  };
}

/** The profiles by name. */
export const profiles: Readonly<Record<string, () => Profile>> = { large, many, huge };
