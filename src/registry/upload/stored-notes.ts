/**
 * Which blob was stored in which repository of a registry, so that a later run mounts it from there instead of sending
 * it again. Lines are only ever added, many at a time; each ends with a digest, so one that was torn is none. They
 * are hints: a mount that the registry refuses is followed by an upload.
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { type Digest, isDigest } from "../../oci/digest.ts";
import type { StateFolder } from "./state-folder.ts";

const keptSeconds = 7 * 24 * 3600;
/** Only the end of a file is read: some thirty thousand lines. Bytes. */
const readBytes = 4 * 1024 * 1024;
/** A file that has grown beyond this is written anew with what is of use of it. Bytes. */
const maxBytes = 8 * 1024 * 1024;
/** Lines are gathered for so long, in milliseconds, unless somebody needs them on the disk. */
const gatherMs = 100;
const maxRepositories = 4;
const lineShape = /^(\d{1,12}) ([a-z0-9][a-z0-9._/-]{0,254}) (\S+)$/;

/** The notes of one registry. */
export class StoredNotes {
  readonly #folder: StateFolder;
  readonly #file: string;
  readonly #isReadOnly: boolean;
  #known: Promise<Map<string, readonly string[]>> | undefined;
  #pending = "";
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;

  /** `isReadOnly`: nothing is noted. */
  constructor(folder: StateFolder, registry: string, { isReadOnly }: { readonly isReadOnly: boolean }) {
    this.#folder = folder;
    this.#isReadOnly = isReadOnly;
    // Names of registries have colons and brackets in them.
    this.#file = `${createHash("sha256").update(registry).digest("hex").slice(0, 32)}.log`;
  }

  /** The repository beside this one that got a blob last; undefined if none is known. */
  async elsewhere(digest: Digest, repository: string): Promise<string | undefined> {
    this.#known ??= this.#read();
    return (await this.#known).get(digest)?.findLast((name) => name !== repository);
  }

  /** Takes note of a blob that a repository has now; it is on the disk a moment later. */
  add(digest: Digest, repository: string): void {
    if (this.#isReadOnly) return;
    // The line before may have been torn.
    this.#pending += `\n${seconds()} ${repository} ${digest}\n`;
    this.#timer ??= setTimeout(() => void this.flush(), gatherMs).unref();
  }

  /** Resolves when all that was noted before is on the disk, or cannot be kept. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // What is being written may lack the last lines; all who wait share the next write, which has them.
    if (this.#writing !== undefined) await this.#writing;
    if (this.#pending === "" && this.#writing === undefined) return;
    this.#writing ??= this.#write();
    await this.#writing;
  }

  async #write(): Promise<void> {
    const lines = this.#pending;
    this.#pending = "";
    await this.#folder.append(this.#file, lines);
    this.#writing = undefined;
  }

  async #read(): Promise<Map<string, readonly string[]>> {
    const { text, size } = await readEnd(this.#folder.file(this.#file));
    const known = new Map<string, readonly string[]>();
    const lines = text.split("\n").filter((line) => {
      const [, time, repository = "", digest = ""] = lineShape.exec(line) ?? [];
      if (!isDigest(digest) || Math.abs(seconds() - Number(time)) > keptSeconds) return false;
      const others = (known.get(digest) ?? []).filter((name) => name !== repository);
      known.set(digest, [...others, repository].slice(-maxRepositories));
      return true;
    });
    if (size > maxBytes && !this.#isReadOnly) await this.#folder.replace(this.#file, `${lines.join("\n")}\n`);
    return known;
  }
}

async function readEnd(path: string): Promise<{ readonly text: string; readonly size: number }> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, readBytes));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, size - bytes.length);
    return { text: bytes.toString("utf8", 0, bytesRead), size };
  } catch {
    return { text: "", size: 0 };
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
