/**
 * Cuts a zstd stream at the ends of its frames (RFC 8878, section 3). Node 22 and 24 decompress one frame a chunk and
 * drop what stands behind it in the same chunk, which would lose the rest of what pzstd writes. Skippable frames are
 * left out.
 */

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
const blockHeaderBytes = 3;

/** The same bytes in other chunks: none reaches over the end of a frame. Damage is left for the decompressor to find. */
export async function* zstdFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const cutter = new FrameCutter();
  for await (const chunk of stream)
    yield* cutter.cut(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  const rest = cutter.rest();
  if (rest.byteLength > 0) yield rest;
}

type State = "magic" | "header" | "block" | "skip-size";

class FrameCutter {
  /** The header at hand, as far as it has come. */
  #held = Buffer.alloc(0);
  #state: State = "magic";
  /** Bytes of content before the next header. */
  #through = 0;
  #leaveOut = false;
  #checksum = 0;
  #lost = false;

  *cut(chunk: Buffer): Generator<Buffer, void> {
    // What lies between these two belongs to the frame at hand, and has not been passed on.
    let begin = 0;
    let at = 0;
    while (at < chunk.byteLength && !this.#lost) {
      if (this.#through > 0) {
        const length = Math.min(this.#through, chunk.byteLength - at);
        this.#through -= length;
        at += length;
        if (this.#leaveOut) begin = at;
      } else {
        const from = at;
        at = Math.min(chunk.byteLength, at + this.#wanted() - this.#held.byteLength);
        this.#held = Buffer.concat([this.#held, chunk.subarray(from, at)]);
        // Whether a frame begins here or something to be left out is known when its magic has come as a whole.
        if (this.#state === "magic" || this.#state === "skip-size") begin = at;
        if (this.#held.byteLength < this.#wanted()) continue;
        const magic = this.#state === "magic" ? this.#held : undefined;
        this.#advance();
        if (magic !== undefined && this.#state !== "skip-size") yield magic;
      }
      if (this.#through === 0 && this.#state === "magic" && begin < at) {
        yield chunk.subarray(begin, at);
        begin = at;
      }
    }
    if (begin < chunk.byteLength) yield chunk.subarray(begin);
  }

  /** What came of a magic that did not come as a whole. */
  rest(): Buffer {
    return this.#state === "magic" && !this.#lost ? this.#held : Buffer.alloc(0);
  }

  /** Bytes that the header at hand needs. */
  #wanted(): number {
    if (this.#state === "block") return blockHeaderBytes;
    if (this.#state === "skip-size") return 8;
    if (this.#state === "magic") return 5;
    return headerBytes(this.#held[4] ?? 0);
  }

  /** Takes the header in, which is there as a whole. */
  #advance(): void {
    const header = this.#held;
    if (this.#state === "magic") {
      const magic = header.readUInt32LE(0);
      if (magic === frameMagic) this.#state = "header";
      else if ((magic & 0xfffffff0) >>> 0 === skippableMagic) this.#state = "skip-size";
      // What is no frame is passed on as it is, and refused there.
      else this.#lost = true;
      return;
    }
    this.#held = Buffer.alloc(0);
    this.#leaveOut = this.#state === "skip-size";
    if (this.#state === "skip-size") {
      this.#through = header.readUInt32LE(4);
      this.#state = "magic";
    } else if (this.#state === "header") {
      this.#checksum = ((header[4] ?? 0) & 0b100) === 0 ? 0 : 4;
      this.#state = "block";
    } else {
      const block = header.readUIntLE(0, blockHeaderBytes);
      const last = (block & 1) === 1;
      // A block of one repeated byte (RLE) has that byte only.
      this.#through = ((block >> 1) & 0b11) === 1 ? 1 : block >> 3;
      if (last) {
        this.#through += this.#checksum;
        this.#state = "magic";
      }
    }
  }
}

/** The length of a frame header with its magic, by its descriptor byte. */
function headerBytes(descriptor: number): number {
  const single = (descriptor & 0b10_0000) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? Number(single) : 2 ** sizeFlag;
  return 5 + Number(!single) + ([0, 1, 2, 4][descriptor & 0b11] ?? 0) + sizeBytes;
}
