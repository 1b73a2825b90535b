/** Unfinished bundles to move things in, and a journal that can end the program at any of its moments. */
import { statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Claim, MoveLog, MoveStep } from "../../src/bundle/claims.ts";
import { type Layout, layOut } from "../../src/bundle/layout.ts";
import { finishMove, type MoveOptions } from "../../src/bundle/move.ts";
import { relocate } from "../../src/bundle/relocate.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { randomBytesOf } from "../support/layers.ts";
import { tempDir } from "../support/temp.ts";

export const name = "bundle.tar.part";

/** Blobs of these sizes, all different. Bytes. */
export const blobsOf = (sizes: readonly number[]): readonly Buffer[] =>
  sizes.map((size, at) => randomBytesOf(`blob ${at}`, size + 4));

/** A layout of blobs in this order behind metadata of so many bytes. */
export async function layoutOf(blobs: readonly Buffer[], metadataBytes: number): Promise<Layout> {
  const layers = blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.byteLength }));
  const metadata = [{ path: "mirror.json", bytes: Buffer.alloc(metadataBytes, 1) }];
  return await layOut(metadata, { manifests: [], configs: [], layers });
}

/** Ends what uses it at its n-th moment: the program is gone. */
export class Crash extends Error {
  left: number;
  constructor(moments = Number.POSITIVE_INFINITY) {
    super("the program is gone");
    this.left = moments;
  }
  /** True for the end of the program, however it is wrapped. */
  ended(error: unknown): boolean {
    return error === this || (error instanceof Error && error.cause === this);
  }
  /** A moment at which the program may end; `torn` is what it may still have done then. */
  moment(torn?: () => void): void {
    this.left -= 1;
    if (this.left >= 0) return;
    if (this.left === -1) torn?.();
    throw this;
  }
}

/** What a journal says after a crash: the lines that were written. */
export class TestLog implements MoveLog {
  readonly claims = new Map<Digest, Claim>();
  /** A move that was begun, and not noted as moved since. */
  pending: MoveStep | undefined;
  steps = 0;
  /** The program ended when a piece had been saved, and its step was not noted. */
  savedOnly = false;
  crash = new Crash();

  note(claim: Claim): void {
    // A map keeps the place of a key that is set again.
    this.claims.delete(claim.digest);
    this.claims.set(claim.digest, claim);
  }

  async moved(claim: Claim): Promise<void> {
    this.crash.moment();
    this.note(claim);
    if (this.pending?.digest === claim.digest) this.pending = undefined;
    this.crash.moment();
  }

  async step(step: MoveStep): Promise<void> {
    this.crash.moment(() => {
      this.savedOnly = step.hash !== "";
    });
    this.pending = step;
    this.steps += 1;
    this.crash.moment();
  }
}

/** An unfinished bundle on the disk. */
export interface Part extends AsyncDisposable {
  readonly file: FileHandle;
  readonly log: TestLog;
  readonly spillPath: string;
  /** Where it was written since it was made, each as [from, to). Bytes. */
  readonly written: (readonly [number, number])[];
  /** The first bytes of the content of a claim, as they are in the file. */
  read(claim: Claim): Promise<Buffer>;
  /** Does what a writer does when it opens an unfinished bundle: finishes a move, and moves to the layout. */
  relocate(layout: Layout, options?: Partial<MoveOptions>): Promise<ReadonlyMap<Digest, Claim>>;
}

/** A part of `size` bytes in which the first bytes of contents lie, and are claimed. In a folder of its own unless `disk` is one. */
export async function partOf(
  size: number,
  contents: readonly { readonly claim: Claim; readonly bytes: Buffer }[],
  pieceBytes: number,
  disk?: string,
): Promise<Part> {
  const folder = await tempDir();
  const path = join(disk ?? folder.path, name);
  const real = await open(path, "w+");
  await real.truncate(size);
  const log = new TestLog();
  for (const { claim, bytes } of contents) {
    await real.write(bytes, 0, claim.got, claim.at);
    log.note(claim);
  }
  const written: (readonly [number, number])[] = [];
  const file = crashing(real, log, written);
  const spillPath = `${path}.move`;
  const all = { log, spillPath, name, pieceBytes };
  return {
    file,
    log,
    spillPath,
    written,
    read: async ({ at, got }) => {
      const bytes = Buffer.alloc(got);
      expect((await real.read(bytes, 0, got, at)).bytesRead).toBe(got);
      return bytes;
    },
    relocate: async (layout, options = {}) => {
      if (log.pending !== undefined) await finishMove(file, log.pending, { ...all, ...options });
      return await relocate(file, log.claims, layout, { ...all, ...options });
    },
    async [Symbol.asyncDispose]() {
      await real.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A file whose writes may be cut off in the middle by the crash, as the system does it. */
function crashing(file: FileHandle, log: TestLog, written: (readonly [number, number])[]): FileHandle {
  const writev = async (buffers: readonly Uint8Array[], position: number) => {
    const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    let torn = false;
    try {
      log.crash.moment(() => {
        torn = true;
      });
    } finally {
      if (torn) await file.write(Buffer.concat(buffers), 0, length >> 1, position);
    }
    const result = await file.writev([...buffers], position);
    written.push([position, position + length]);
    log.crash.moment();
    return result;
  };
  return new Proxy(file, {
    get: (target, key) => {
      if (key === "writev") return writev;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Bytes of the file; 0 if there is none. */
export function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
