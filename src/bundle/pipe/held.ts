/** Content that waits in memory, in pieces that are used again, so that what is held is all that there is. */

/** Bytes of a piece. Content that is smaller gets a piece of its own size. */
const pieceBytes = 1024 * 1024;

/** The memory that the content of one pipe shares. */
export class Pieces {
  /** What may be held at a time, in bytes. It is for whoever appends to hold on to it. */
  readonly capacity: number;
  readonly #spare: Buffer[] = [];
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes that are held. */
  get used(): number {
    return this.#used;
  }

  /** A piece for content of which so many bytes are to come. */
  take(bytes: number): Buffer {
    const piece =
      bytes < pieceBytes
        ? Buffer.allocUnsafeSlow(bytes)
        : (this.#spare.pop() ?? Buffer.allocUnsafeSlow(pieceBytes));
    this.#used += piece.byteLength;
    return piece;
  }

  /** Gives a piece back, which nobody reads any more. */
  give(piece: Buffer): void {
    this.#used -= piece.byteLength;
    if (piece.byteLength === pieceBytes) this.#spare.push(piece);
  }
}

/** A part of one content: from `start` to `end`, both in bytes from its beginning. */
export class Held {
  readonly #pieces: Pieces;
  readonly #size: number;
  #list: Buffer[] = [];
  #start = 0;
  #end = 0;

  /** `size`: of the content as a whole, in bytes. */
  constructor(pieces: Pieces, size: number) {
    this.#pieces = pieces;
    this.#size = size;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#end;
  }

  /** Takes in a copy of the next bytes. */
  append(bytes: Uint8Array): void {
    for (let taken = 0; taken < bytes.byteLength; ) {
      const filled = (this.#end - this.#start) % pieceBytes;
      let piece = this.#list.at(-1);
      if (piece === undefined || filled === 0) {
        piece = this.#pieces.take(this.#size - this.#end);
        this.#list.push(piece);
      }
      const part = bytes.subarray(taken, taken + piece.byteLength - filled);
      piece.set(part, filled);
      taken += part.byteLength;
      this.#end += part.byteLength;
    }
  }

  /** What is held from an offset on, as far as it lies together; undefined if nothing is. */
  from(offset: number): Uint8Array | undefined {
    if (offset < this.#start || offset >= this.#end) return undefined;
    const at = offset - this.#start;
    const piece = this.#list[Math.floor(at / pieceBytes)];
    const begin = Math.floor(at / pieceBytes) * pieceBytes;
    return piece?.subarray(at - begin, Math.min(this.#end - this.#start - begin, pieceBytes));
  }

  /** Drops whole pieces before an offset. True if there were any. */
  dropBefore(offset: number): boolean {
    const count = Math.floor((Math.min(offset, this.#end) - this.#start) / pieceBytes);
    if (count <= 0) return false;
    for (const piece of this.#list.splice(0, count)) this.#pieces.give(piece);
    this.#start += count * pieceBytes;
    return true;
  }

  /** Drops everything. */
  clear(): void {
    for (const piece of this.#list) this.#pieces.give(piece);
    this.#list = [];
    this.#start = this.#end;
  }
}
