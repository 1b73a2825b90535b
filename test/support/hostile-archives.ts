/**
 * Archives that nobody honest wrote: real ones whose headers, order, content and JSON were changed by chance. Whatever
 * comes out is read as a user would read it, and has to end well or with an error that says why.
 */
import { readdir, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import type { Bundle } from "../../src/bundle/bundle.ts";
import { openBundle } from "../../src/bundle/open.ts";
import { openPiped } from "../../src/bundle/pipe/open-piped.ts";
import { PipeReader } from "../../src/bundle/pipe/pipe-reader.ts";
import type { ByteStream, OpenOptions } from "../../src/content/content.ts";
import type { PassingContent, Stage } from "../../src/content/passing-content.ts";
import { AppError } from "../../src/errors.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobEntries, dockerSaveEntries, type Entry, ociEntries, tarOf } from "./archives.ts";
import { makeImage, makeIndex } from "./images.ts";
import { findProblems } from "./pipeline.ts";
import type { TempDir } from "./temp.ts";

const block = 512;
/** A case that takes longer hangs. Milliseconds. */
const maxMs = 10_000;

/** One change of a list of entries, or of the bytes that came of it. */
type Change =
  | { readonly kind: "drop" | "twin" | "swap"; readonly at: number; readonly to: number }
  | { readonly kind: "name" | "link"; readonly at: number; readonly text: string }
  | { readonly kind: "json"; readonly at: number; readonly value: unknown }
  | { readonly kind: "pax"; readonly at: number; readonly key: string; readonly text: string }
  | { readonly kind: "field"; readonly at: number; readonly field: number; readonly bytes: Uint8Array }
  | { readonly kind: "flip"; readonly at: number; readonly bit: number }
  | { readonly kind: "cut"; readonly at: number }
  | { readonly kind: "insert"; readonly at: number; readonly bytes: Uint8Array };

/** Fields of a header by their offsets: name, mode, size, checksum, type, link, magic, prefix. */
const fields = [0, 100, 124, 125, 148, 156, 157, 257, 345];
const names = [
  "index.json",
  "./index.json",
  "manifest.json",
  "oci-layout",
  "mirror.json",
  "../evil",
  "/etc/passwd",
  "a/layer.tar",
  "blobs/sha256/",
  `blobs/sha256/${"0".repeat(64)}`,
  "x".repeat(300),
];

const at = fc.nat({ max: 10_000_000 });
const text = fc.oneof(fc.constantFrom(...names), fc.string({ maxLength: 150 }));
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength }),
    fc.constantFrom(
      Buffer.from("77777777777\0"),
      Buffer.alloc(12, 0xff),
      Buffer.from("\x80\0\0\0\0\0\0\0\0\0\0\x01", "latin1"),
    ),
    fc.constantFrom(
      ...["S", "1", "2", "3", "5", "x", "g", "L", "K", "V", "7", "\0", "?"].map((flag) => Buffer.from(flag)),
    ),
  );
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constantFrom("drop", "twin", "swap"), at, to: at }),
  fc.record({ kind: fc.constantFrom("name", "link"), at, text }),
  fc.record({ kind: fc.constant("json"), at, value: fc.jsonValue({ maxDepth: 6 }) }),
  fc.record({
    kind: fc.constant("pax"),
    at,
    key: fc.constantFrom(
      "path",
      "linkpath",
      "size",
      "GNU.sparse.name",
      "GNU.sparse.major",
      "comment",
      "mtime",
    ),
    text: fc.oneof(text, fc.nat().map(String)),
  }),
  fc.record({ kind: fc.constant("field"), at, field: fc.constantFrom(...fields), bytes: bytes(16) }),
  fc.record({ kind: fc.constant("flip"), at, bit: fc.nat({ max: 7 }) }),
  fc.record({ kind: fc.constant("cut"), at }),
  fc.record({ kind: fc.constant("insert"), at, bytes: bytes(1200) }),
);

/** A hostile archive: what it was made of, how it was changed, how it is compressed. */
export const hostile = fc.record({
  base: fc.nat({ max: 3 }),
  changes: fc.array(change, { minLength: 1, maxLength: 5 }),
  outer: fc.constantFrom("plain", "plain", "gzip", "zstd"),
  /** Where the compressed bytes are changed as well; nowhere in most cases. */
  damage: fc.option(fc.record({ at, bit: fc.nat({ max: 7 }) }), { freq: 8 }),
});
export type Hostile = typeof hostile extends fc.Arbitrary<infer T> ? T : never;

/** What the archives are before they are changed. */
export async function honest(): Promise<readonly (readonly Entry[])[]> {
  const app = await makeImage({ seed: "app", layers: [3000, 500] });
  const arm = await makeImage({ seed: "arm", platform: "linux/arm64" });
  const index = makeIndex([app, arm], { attestations: true });
  const named = { "io.containerd.image.name": "docker.io/team/app:1.0" };
  return [
    ociEntries([{ content: app, annotations: named }]),
    [
      ...ociEntries([
        { content: index },
        { content: arm, annotations: { "org.opencontainers.image.ref.name": "1" } },
      ]),
    ],
    dockerSaveEntries([
      { image: app, tags: ["team/app:1.0"] },
      { image: app, tags: null },
    ]),
    [...blobEntries(app), ...dockerSaveEntries([{ image: arm, tags: ["arm:1"] }])],
  ];
}

/**
 * Reads one, from a file and from a pipe. Throws if anything but an error for the user comes of it, if anything is left
 * beside it, or if one way finds nothing wrong and the other does.
 */
export async function survive(
  bases: readonly (readonly Entry[])[],
  given: Hostile,
  folder: TempDir,
): Promise<void> {
  const path = folder.join("hostile.tar");
  const bytes = await build(bases[given.base] ?? [], given);
  await writeFile(path, bytes);
  const file = await outcome(async () => await openBundle(path));
  const pipe = await outcome(async () => await openFromPipe(bytes));
  const left = await readdir(folder.path);
  if (left.length !== 1) throw new Error(`there is more than the archive now: ${left.join(", ")}`);
  // A compressed bundle of ours is read as one from a pipe only; so is what has its mirror.json, and is refused for the rest.
  const ours = given.outer !== "plain" && JSON.stringify(given.changes).includes("mirror.json");
  if (file !== pipe && !ours) throw new Error(`from a file it is ${file}, from a pipe ${pipe}`);
}

/** Reads a bundle in memory as one that comes through a pipe; files over `keptBytes` go through a stage. */
export async function openFromPipe(bytes: Buffer, keptBytes = 2500): Promise<Bundle> {
  const piped = await openPiped(lent(bytes), "a pipe");
  if (piped instanceof PipeReader) return piped;
  return await piped.read({ stage: new MemoryStage(), keptBytes });
}

/** What came of an archive: the images in it, or that it was refused. */
async function outcome(open: () => Promise<Bundle>): Promise<string> {
  const started = performance.now();
  let result = "refused";
  try {
    await using bundle = await open();
    const problems = await findProblems(bundle);
    for (const { source } of bundle.images)
      if (typeof source !== "string") throw new Error("an image without a name");
    if (problems.length === 0)
      result = bundle.images.map(({ source, root }) => `${source} ${root.digest}`).join(", ");
  } catch (error) {
    if (!(error instanceof AppError) || error.code === "INTERNAL" || error.message === "") throw error;
  }
  const took = performance.now() - started;
  if (took > maxMs) throw new Error(`it took ${Math.round(took)} ms`);
  return result;
}

/** Chunks as standard input gives them: two buffers in turn, of which each is used again. */
async function* lent(bytes: Buffer): AsyncGenerator<Uint8Array, void> {
  const buffers = [Buffer.alloc(700), Buffer.alloc(700)] as const;
  for (let at = 0, turn: 0 | 1 = 0; at < bytes.byteLength; turn = turn === 0 ? 1 : 0) {
    const buffer = buffers[turn].fill(0xee);
    const length = bytes.copy(buffer, 0, at);
    at += length;
    yield buffer.subarray(0, length);
  }
}

/** Keeps what is put into it, and proves it as a registry does. */
class MemoryStage implements Stage {
  readonly #blobs = new Map<Digest, Buffer>();

  async has({ digest }: Descriptor): Promise<boolean> {
    return this.#blobs.has(digest);
  }

  async stage(content: PassingContent): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of await content.open(0)) chunks.push(Buffer.from(chunk));
    const digest = await content.digest();
    const bytes = Buffer.concat(chunks);
    if (digestOf(bytes, algorithmOf(digest)) !== digest) throw new Error(`${digest} came as something else`);
    this.#blobs.set(digest, bytes);
  }

  async open({ digest }: Descriptor, { offset = 0 }: OpenOptions = {}): Promise<ByteStream> {
    const bytes = this.#blobs.get(digest);
    if (bytes === undefined) throw new Error(`${digest} was never put here`);
    return Readable.from([bytes.subarray(offset)]);
  }
}

async function build(base: readonly Entry[], { changes, outer, damage }: Hostile): Promise<Buffer> {
  let entries = [...base];
  for (const each of changes) entries = changeEntries(entries, each);
  let tar = await tarOf(entries);
  for (const each of changes) tar = changeBytes(tar, each);
  const whole =
    outer === "gzip" ? gzipSync(tar, { level: 1 }) : outer === "zstd" ? zstdCompressSync(tar) : tar;
  if (damage !== null && whole.byteLength > 0) flip(whole, damage.at, damage.bit);
  return whole;
}

function changeEntries(entries: readonly Entry[], change: Change): Entry[] {
  const index = entries.length === 0 ? 0 : change.at % entries.length;
  const entry = entries[index];
  if (entry === undefined) return [...entries];
  const replaced = (by: Partial<Entry>): Entry[] => entries.with(index, { ...entry, ...by });
  switch (change.kind) {
    case "drop":
      return entries.toSpliced(index, 1);
    case "twin":
      return entries.toSpliced(change.to % entries.length, 0, entry);
    case "swap": {
      const other = change.to % entries.length;
      return entries.with(index, entries[other] ?? entry).with(other, entry);
    }
    case "name":
      return replaced({ name: change.text.replaceAll("\0", "") || "x" });
    case "link":
      return entries.with(index, {
        name: entry.name,
        type: "symlink",
        linkname: change.text.replaceAll("\0", "") || "x",
      });
    case "json": {
      const json = entries.findIndex(({ name }, from) => from >= index && /json$|oci-layout/.test(name));
      const old = entries[json];
      return old === undefined
        ? [...entries]
        : entries.with(json, { name: old.name, content: JSON.stringify(change.value) });
    }
    case "pax":
      return replaced({ pax: { [change.key]: change.text } });
    default:
      return [...entries];
  }
}

function changeBytes(tar: Buffer, change: Change): Buffer {
  if (tar.byteLength === 0) return tar;
  const place = change.at % tar.byteLength;
  switch (change.kind) {
    case "field": {
      const header = tar.subarray(place - (place % block), place - (place % block) + block);
      if (header.byteLength < block) return tar;
      header.set(change.bytes.subarray(0, block - change.field), change.field);
      if (change.field !== 148) seal(header);
      return tar;
    }
    case "flip":
      flip(tar, change.at, change.bit);
      return tar;
    case "cut":
      return tar.subarray(0, place);
    case "insert":
      return Buffer.concat([
        tar.subarray(0, place - (place % block)),
        change.bytes,
        tar.subarray(place - (place % block)),
      ]);
    default:
      return tar;
  }
}

/** Makes the checksum of a header fit. */
function seal(header: Buffer): void {
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

function flip(bytes: Buffer, where: number, bit: number): void {
  const place = where % bytes.byteLength;
  bytes.writeUInt8((bytes[place] ?? 0) ^ (1 << bit), place);
}
