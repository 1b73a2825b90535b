/** Archives of images as other tools write them, made by hand: entry by entry, so that they can be wrong as well. */
import { writeFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { type Header, pack } from "tar-stream";
import { blobPath } from "../../src/bundle/layout.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import type { TestImage, TestIndex } from "./images.ts";

/** One entry of a tar: a file if there is no more than a name and content. */
export interface Entry extends Partial<Header> {
  readonly name: string;
  readonly content?: Buffer | string;
}

/** A tar of entries, in their order. */
export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  const mtime = new Date(0);
  for (const { content, ...header } of entries) {
    if (content === undefined) archive.entry({ mtime, size: 0, ...header });
    else archive.entry({ mtime, ...header }, Buffer.from(content));
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Writes a tar, and gives its path back. */
export async function writeTar(path: string, entries: readonly Entry[]): Promise<string> {
  await writeFile(path, await tarOf(entries));
  return path;
}

/** Everything that an image leads to, itself included, as files of an OCI layout. */
export function blobEntries(content: TestImage | TestIndex): readonly Entry[] {
  const parts = content.kind === "image" ? [content.config, ...content.layers].map(({ bytes }) => bytes) : [];
  const below = content.kind === "index" ? content.children.flatMap((child) => blobEntries(child)) : [];
  return [
    ...below,
    ...[...parts, content.manifest].map((bytes) => ({ name: blobPath(digestOf(bytes)), content: bytes })),
  ];
}

/** `index.json` over descriptors. */
export function indexEntry(manifests: readonly Descriptor[]): Entry {
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  return { name: "index.json", content: JSON.stringify(index) };
}

export const layoutEntry: Entry = { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' };

/** An OCI archive as oras and ctr write it: blobs first, each once. */
export function ociEntries(
  images: readonly {
    readonly content: TestImage | TestIndex;
    readonly annotations?: Descriptor["annotations"];
  }[],
): readonly Entry[] {
  const blobs = new Map(
    images.flatMap(({ content }) => blobEntries(content)).map((entry) => [entry.name, entry]),
  );
  const roots = images.map(({ content, annotations }) => ({
    mediaType: content.descriptor.mediaType,
    digest: content.descriptor.digest,
    size: content.descriptor.size,
    ...(annotations === undefined ? {} : { annotations }),
  }));
  return [...blobs.values(), indexEntry(roots), layoutEntry];
}

/** One image of a `docker save` of Docker 24 and before. */
export interface SavedImage {
  readonly image: TestImage;
  readonly tags: readonly string[] | null;
}

/**
 * `docker save` of Docker 24 and before: a folder for each layer with an uncompressed tar in it, a layer that was saved
 * before as a symbolic link to the first one (moby v24.0 image/tarexport/save.go).
 */
export function dockerSaveEntries(images: readonly SavedImage[]): readonly Entry[] {
  const entries: Entry[] = [];
  const saved = new Map<string, string>();
  const list: object[] = [];
  for (const [at, { image, tags }] of images.entries()) {
    const layers: string[] = [];
    for (const [index, layer] of image.layers.entries()) {
      const id = hexOf(digestOf(Buffer.from(`${at}/${index}/${layer.descriptor.digest}`)));
      const name = `${id}/layer.tar`;
      const first = saved.get(layer.descriptor.digest);
      entries.push({ name: `${id}/`, type: "directory" }, { name: `${id}/VERSION`, content: "1.0" });
      entries.push({ name: `${id}/json`, content: `{"id":"${id}"}` });
      if (first === undefined) entries.push({ name, content: gunzipSync(layer.bytes) });
      else entries.push({ name, type: "symlink", linkname: `../${first}` });
      saved.set(layer.descriptor.digest, first ?? name);
      layers.push(name);
    }
    const config = `${hexOf(image.config.descriptor.digest)}.json`;
    entries.push({ name: config, content: image.config.bytes });
    list.push({ Config: config, RepoTags: tags, Layers: layers });
  }
  const repositories = { name: "repositories", content: "{}" };
  return [...entries, { name: "manifest.json", content: JSON.stringify(list) }, repositories];
}
