/** What a layer is: how it is compressed, its digest, and the digest of the tar inside. */
import { createHash } from "node:crypto";
import type { ByteStream } from "../../content/content.ts";
import type { Digest } from "../../oci/digest.ts";
import { type Compression, compressionOf, decompress, magicBytes } from "./compression.ts";

export interface LayerFacts {
  readonly compression: Compression;
  readonly digest: Digest;
  /** Of the tar inside (image-spec config.md "Layer DiffID"); undefined if this program cannot decompress it. */
  readonly diffId: Digest | undefined;
}

/** Reads a layer to its end. `name` is for messages. Throws INTEGRITY if it cannot be decompressed. */
export async function readLayerFacts(stream: ByteStream, name: string): Promise<LayerFacts> {
  const outer = createHash("sha256");
  const chunks = stream[Symbol.asyncIterator]();
  const beginning: Uint8Array[] = [];
  let known = 0;
  while (known < magicBytes) {
    const next = await chunks.next();
    if (next.done === true) break;
    beginning.push(Buffer.from(next.value));
    known += next.value.byteLength;
  }
  const compression = compressionOf(Buffer.concat(beginning));
  // The one that is being read, also where nobody waits for it any more.
  let coming: ReturnType<typeof chunks.next> | undefined;
  const all = async function* (): AsyncGenerator<Uint8Array, void> {
    for (const chunk of beginning) {
      outer.update(chunk);
      yield chunk;
    }
    for (;;) {
      coming = chunks.next();
      const next = await coming;
      if (next.done === true) return;
      outer.update(next.value);
      // Whoever decompresses keeps a chunk for longer than it is lent.
      yield compression === undefined ? next.value : Buffer.from(next.value);
    }
  };
  try {
    if (compression === undefined || compression === "xz" || compression === "bzip2") {
      for await (const _ of all()) {
        // Hashed on the way.
      }
      const digest = finish(outer);
      return { compression, digest, diffId: compression === undefined ? digest : undefined };
    }
    const inner = createHash("sha256");
    for await (const chunk of decompress(all(), compression, name)) inner.update(chunk);
    // A decompressor takes nothing more once it has met its end. What is behind that is part of the layer all the same.
    await coming;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next())
      outer.update(next.value);
    return { compression, digest: finish(outer), diffId: finish(inner) };
  } finally {
    await chunks.return?.();
  }
}

function finish(hash: ReturnType<typeof createHash>): Digest {
  return `sha256:${hash.digest("hex")}` as Digest;
}
