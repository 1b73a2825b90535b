/** What the crash tests move: a few images of every kind of blob, in a real registry. */
import { stat } from "node:fs/promises";
import { type CorpusImage, digestsOf } from "../../interop/support/corpus.ts";
import { makeImage, makeIndex } from "../../support/images.ts";
import { makeRandomLayer } from "../../support/layers.ts";

const megabyte = 1_000_000;

/**
 * Images of some `size` bytes in all: a layer that two images and an index share, one layer of two fifths of all, an
 * index for two platforms, and many small layers.
 */
export async function makeContent(size: number): Promise<readonly CorpusImage[]> {
  const part = (share: number): number => Math.round(size * share);
  const shared = await makeRandomLayer(`crash/shared ${size}`, part(0.1));
  const platform = (name: string) =>
    makeImage({ platform: name, seed: `crash/${name} ${size}`, layers: [shared, part(0.08)] });
  const small = Array.from({ length: 12 }, (_, index) => part(0.005) + index);
  return [
    {
      repository: "team/app",
      tag: "1.0",
      content: await makeImage({ seed: `crash/app ${size}`, layers: [shared, part(0.1), part(0.02)] }),
    },
    {
      repository: "team/large",
      tag: "1.0",
      content: await makeImage({ seed: `crash/large ${size}`, layers: [part(0.4), part(0.16)] }),
    },
    {
      repository: "team/multi",
      tag: "1.0",
      content: makeIndex([await platform("linux/amd64"), await platform("linux/arm64")]),
    },
    {
      repository: "team/small",
      tag: "1.0",
      content: await makeImage({ seed: `crash/small ${size}`, layers: [shared, ...small] }),
    },
  ];
}

/** Another image for team/app:1.0, which shares one layer with the one before. */
export async function makeMoved(size: number): Promise<CorpusImage> {
  const shared = await makeRandomLayer(`crash/shared ${size}`, Math.round(size * 0.1));
  const content = await makeImage({
    seed: `crash/moved ${size}`,
    layers: [Math.round(size * 0.15), shared, megabyte / 4],
  });
  return { repository: "team/app", tag: "1.0", content };
}

/** The digests of all content of the images. */
export function allDigests(images: readonly CorpusImage[]): readonly string[] {
  return [...new Set(images.flatMap(({ content }) => digestsOf(content)))];
}

/** Size of a file in bytes. */
export async function bytesOf(path: string): Promise<number> {
  return (await stat(path)).size;
}
