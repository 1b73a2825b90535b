/** What an upload sends: a blob, or content that goes by and gets its name at its end. */
import type { BlobSource } from "../../content/content.ts";
import type { PassingContent } from "../../content/passing-content.ts";
import { Proof, type ResumeOptions, resuming } from "../../content/verify.ts";
import { AppError } from "../../errors.ts";
import { type Digest, shortDigest } from "../../oci/digest.ts";

/** How far content has been looked at, and whether it is right. */
export interface ContentProof extends Pick<Proof, "offset" | "admit" | "update" | "finish"> {
  copy(): ContentProof;
}

/** One of both. Sizes in bytes. */
export interface UploadItem {
  /** For messages: its digest, or what it is called; and the same for those with less room. */
  readonly name: string;
  readonly shortName: string;
  readonly size: number;
  /** Of content that goes by: how far it goes back. */
  readonly replayBytes: number | undefined;
  /** The digest is known at the end only. */
  readonly isLate: boolean;
  /** No request is begun before its first bytes are there. */
  readonly waits: boolean;
  digest(): Promise<Digest>;
  onStored(offset: number): void;
  /** Its bytes from an offset on. */
  read(options: ResumeOptions): AsyncGenerator<Uint8Array, void>;
  /** The proof of content of which nothing has been read. */
  proof(): ContentProof;
}

/** A blob as an upload sends it. */
export function blobItem(blob: BlobSource): UploadItem {
  const { descriptor, replayBytes, waits = false } = blob;
  return {
    name: descriptor.digest,
    shortName: shortDigest(descriptor.digest),
    size: descriptor.size,
    replayBytes,
    isLate: false,
    waits,
    digest: async () => descriptor.digest,
    onStored: (offset) => blob.onStored?.(offset),
    read: (options) => resuming(blob, options),
    proof: () => new Proof(descriptor),
  };
}

/** Content that goes by as an upload sends it: whoever gives it away hashes it. */
export function passingItem(content: PassingContent): UploadItem {
  const { name, size, replayBytes } = content;
  return {
    name,
    shortName: name,
    size,
    replayBytes,
    isLate: true,
    waits: true,
    digest: async () => await content.digest(),
    onStored: (offset) => content.onStored(offset),
    async *read({ from = 0, signal }) {
      yield* await content.open(from, signal);
    },
    proof: () => new SizeProof(name, size),
  };
}

/** Looks at the size alone. */
class SizeProof implements ContentProof {
  readonly #name: string;
  readonly #size: number;
  offset: number;

  constructor(name: string, size: number, offset = 0) {
    this.#name = name;
    this.#size = size;
    this.offset = offset;
  }

  copy(): SizeProof {
    return new SizeProof(this.#name, this.#size, this.offset);
  }

  admit(bytes: number): void {
    if (this.offset + bytes > this.#size) throw this.#wrong(this.offset + bytes);
  }

  update(chunk: Uint8Array): void {
    this.admit(chunk.byteLength);
    this.offset += chunk.byteLength;
  }

  finish(): void {
    if (this.offset !== this.#size) throw this.#wrong(this.offset);
  }

  #wrong(bytes: number): AppError {
    return new AppError(
      "INTEGRITY",
      `Cannot verify ${this.#name}: got ${bytes} bytes, expected ${this.#size}`,
    );
  }
}
