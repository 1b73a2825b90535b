/** One blob on its way into the part: what is there of it is proved, and the rest written behind it. */
import type { ByteStream } from "../content/content.ts";
import { Proof } from "../content/verify.ts";
import { isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Claim, Mark } from "./claims.ts";
import { writeAll } from "./disk.ts";
import { readFileRange } from "./file-range.ts";
import type { BlobEntry } from "./layout.ts";
import type { PositionalReader, PositionalWriter } from "./positional-file.ts";
import { PositionalOutput } from "./positional-output.ts";
import { paddingOf } from "./tar-header.ts";

/** How far a blob has come is noted every so many bytes: what a crash may cost beyond what was under way. */
const markEveryBytes = 512 * 1024;

export interface ProveOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((offset: number) => void) | undefined;
}

/**
 * Hashes what is said to be there of a blob. Gives the proof of as much as is right: of all of it, or up to the last
 * mark that its content agrees with, or of nothing. Throws DISK if it cannot be read, or the signal's reason.
 */
export async function proveClaim(
  file: Pick<PositionalReader, "read">,
  claim: Claim,
  { descriptor, marks }: { readonly descriptor: Descriptor; readonly marks: readonly Mark[] },
  options: ProveOptions,
): Promise<Proof> {
  const { size } = descriptor;
  const nothing = new Proof(descriptor);
  if (claim.got > size) return nothing;
  const stops = marks.filter(({ got }) => got <= claim.got && got < size);
  // Without its end, what lies behind the last mark cannot be proved.
  const length = claim.got === size ? size : (stops.at(-1)?.got ?? 0);
  const proof = new Proof(descriptor);
  let good = nothing;
  let next = 0;
  try {
    for await (const chunk of readFileRange(file, claim.at, length, "the unfinished bundle")) {
      options.signal?.throwIfAborted();
      for (let rest = chunk; rest.byteLength > 0; ) {
        const stop = stops[next];
        const piece = rest.subarray(0, stop === undefined ? rest.byteLength : stop.got - proof.offset);
        proof.update(piece);
        rest = rest.subarray(piece.byteLength);
        if (stop?.got !== proof.offset) continue;
        if (proof.hashSoFar() !== stop.hash) return good;
        good = proof.copy();
        next += 1;
      }
      options.onProgress?.(proof.offset);
    }
  } catch (error) {
    if (isAppError(error, "INTEGRITY")) return good;
    throw error;
  }
  return proof.offset === size ? proof : good;
}

/** Where a blob goes. */
export interface FillPlace {
  readonly file: PositionalWriter;
  /** What messages call the file. */
  readonly name: string;
  readonly entry: BlobEntry;
  /** Zeros are written behind the blob, too: something else may have lain there. */
  readonly pads: boolean;
}

/** Writes the header of content that is at its place, and the zeros behind it. Throws DISK. */
export async function frame({ file, name, entry, pads }: FillPlace): Promise<void> {
  await writeAll(file, [entry.header], entry.headerOffset, name);
  const padding = Buffer.alloc(paddingOf(entry.size));
  if (pads && padding.byteLength > 0) await writeAll(file, [padding], entry.contentOffset + entry.size, name);
}

export interface FillOptions extends ProveOptions {
  /** Told when so many bytes of the blob are in the file: `bytes` more than the last time. */
  readonly onMark: (mark: Mark, bytes: number) => void;
  readonly onWrite: (bytes: number) => void;
}

/**
 * Writes a blob from where its proof stands to its end. The last chunk is written only when size and digest have
 * proved right. Throws INTEGRITY if the content is wrong, DISK, and what the stream throws; what has come by then is
 * in the file.
 */
export async function fill(
  { file, name, entry, pads }: FillPlace,
  proof: Proof,
  content: ByteStream,
  options: FillOptions,
): Promise<void> {
  const begin = proof.offset === 0 ? entry.headerOffset : entry.contentOffset + proof.offset;
  let noted = proof.offset;
  /** How far it has come: with what is being written, and with what is. */
  let started: Mark | undefined;
  let written: Mark | undefined;
  const note = (): void => {
    if (written === undefined || written.got <= noted) return;
    options.onMark(written, written.got - noted);
    noted = written.got;
  };
  const output = new PositionalOutput(file, { position: begin, name }, (position) => {
    if (started === undefined || position < entry.contentOffset + started.got) return;
    written = started;
    started = undefined;
    if (written.got - noted >= markEveryBytes) note();
  });
  let isRight = true;
  try {
    if (proof.offset === 0) await output.write(entry.header);
    for await (const chunk of content) {
      options.signal?.throwIfAborted();
      if (chunk.byteLength === 0) continue;
      isRight = false;
      proof.update(chunk);
      isRight = true;
      await output.write(chunk);
      options.onWrite(chunk.byteLength);
      options.onProgress?.(proof.offset);
      if (proof.offset === entry.size) await end();
      else see();
    }
    isRight = false;
    proof.finish();
    isRight = true;
    if (entry.size === 0) await end();
  } catch (error) {
    // The first failure is the one to tell. What is in the file by then counts.
    const isWritten = await output.flush().then(
      () => true,
      () => false,
    );
    if (isWritten && isRight && proof.offset < entry.size)
      written = { got: proof.offset, hash: proof.hashSoFar() };
    if (isRight) note();
    throw error;
  }

  // Asking for the end of a stream gives its last chunks back: all is written before.
  async function end(): Promise<void> {
    if (pads) await output.write(Buffer.alloc(paddingOf(entry.size)));
    await output.flush();
  }
  function see(): void {
    if (started !== undefined || output.position !== entry.contentOffset + proof.offset) return;
    started = { got: proof.offset, hash: proof.hashSoFar() };
  }
}
