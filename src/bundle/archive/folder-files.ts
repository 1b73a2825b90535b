/** An OCI image layout as a folder (image-spec image-layout.md). */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import type { ByteStream, OpenOptions } from "../../content/content.ts";
import { systemCode } from "../../errors.ts";
import { asDiskError, diskError } from "../disk.ts";
import { readFileRange } from "../file-range.ts";
import { foreignFilePaths } from "../metadata.ts";
import { unreadArchive } from "./archive-error.ts";
import type { ArchiveFile, ArchiveFiles } from "./archive-files.ts";
import { readable } from "./tar-scan.ts";

/** Looked at at a time. */
const statConcurrency = 32;
const hexLengths: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };

export class FolderFiles implements ArchiveFiles {
  readonly path: string;
  readonly totalBytes: number;
  readonly #files: ReadonlyMap<string, ArchiveFile>;

  private constructor(path: string, files: ReadonlyMap<string, ArchiveFile>) {
    this.path = path;
    this.#files = files;
    this.totalBytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Looks at what is there. Throws DISK. */
  static async open(path: string): Promise<FolderFiles> {
    const names: string[] = [...foreignFilePaths];
    for (const [algorithm, length] of Object.entries(hexLengths)) {
      const found = await readdir(join(path, "blobs", algorithm)).catch((error: unknown) => {
        if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return [];
        throw diskError(`read ${path}`, error);
      });
      const digests = found.filter((name) => name.length === length && /^[0-9a-f]+$/.test(name));
      for (const name of digests) names.push(`blobs/${algorithm}/${name}`);
    }
    const files = new Map<string, ArchiveFile>();
    await pLimit(statConcurrency).map(names, async (name) => {
      const found = await stat(join(path, name)).catch((error: unknown) => {
        if (systemCode(error) === "ENOENT") return undefined;
        throw diskError(`read ${join(path, name)}`, error);
      });
      if (found?.isFile() === true) files.set(name, { name, size: found.size });
    });
    if (!files.has("index.json"))
      throw unreadArchive(path, "it is a folder without an index.json, and so no OCI layout", readable);
    return new FolderFiles(path, files);
  }

  find(name: string): ArchiveFile | undefined {
    return this.#files.get(name);
  }

  async open(file: ArchiveFile, options: OpenOptions = {}): Promise<ByteStream> {
    const path = join(this.path, file.name);
    const { offset = 0 } = options;
    return (async function* (): AsyncGenerator<Uint8Array, void> {
      const handle = await open(path, "r").catch(asDiskError(`read ${path}`));
      try {
        yield* readFileRange(handle, offset, file.size - offset, path);
      } finally {
        await handle.close();
      }
    })();
  }

  async refuseChanged(): Promise<void> {
    // Each file is opened when it is read.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Each file is closed by whoever reads it.
  }
}
