/** What lies where in a tar, and which of it may matter: names that an archive of images has, and no others. */
import { posix } from "node:path";
import { foreignFilePaths } from "../metadata.ts";
import { damagedArchive, shownName, unreadArchive } from "./archive-error.ts";
import type { Cursor } from "./cursor.ts";
import { scanTar, type TarEntry } from "./tar-scan.ts";

/** A file in the tar. Offset of its content, and size, in bytes. */
export interface TarFile {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

export interface TarIndexOptions {
  /** Called with the cursor at the content of each file that may matter. */
  readonly onFile?: (file: TarFile) => Promise<void>;
  /** True if both files have the same content; the cursor stands at the second. Never asked about other sizes. */
  readonly isSame: (first: TarFile, second: TarFile) => Promise<boolean>;
}

/** No archive of images has more files in it that matter. */
const maxFiles = 300_000;
/** Links lead on to links this often at most. */
const maxLinkDepth = 8;

const blobName = /^blobs\/(?:sha256\/[0-9a-f]{64}|sha512\/[0-9a-f]{128})$/;
/** Docker up to 24, skopeo, crane, jib and others: layers and configs have names of their own. */
const legacyName =
  /^(?:[\w.:-]{1,200}\/layer\.tar|[\w.:-]{1,200}\.(?:json|tar|tar\.gz|tgz)|sha256:[0-9a-f]{64})$/;

/** The files of a tar by name. Nothing of it is ever written anywhere, and no name becomes a path on this machine. */
export class TarIndex {
  readonly #path: string;
  readonly #files: ReadonlyMap<string, TarFile>;
  readonly #links: ReadonlyMap<string, string>;

  private constructor(path: string, files: ReadonlyMap<string, TarFile>, links: ReadonlyMap<string, string>) {
    this.#path = path;
    this.#files = files;
    this.#links = links;
  }

  /** Reads all headers. Throws INTEGRITY for what is damaged or ambiguous, BUNDLE for what is not read. */
  static async read(cursor: Cursor, path: string, options: TarIndexOptions): Promise<TarIndex> {
    const files = new Map<string, TarFile>();
    const links = new Map<string, string>();
    for await (const entry of scanTar(cursor, path)) {
      const name = plainName(entry.name, path);
      if (!foreignFilePaths.has(name) && !blobName.test(name) && !legacyName.test(name)) continue;
      if (entry.kind === "other" && entry.name.endsWith("/")) continue;
      if (entry.kind !== "file") {
        const target = linkTarget(name, entry, path);
        if (files.has(name) || (links.get(name) ?? target) !== target) throw twice(path, name);
        links.set(name, target);
      } else {
        const file = { name, offset: entry.offset, size: entry.size };
        const first = files.get(name);
        if (links.has(name) || (first !== undefined && first.size !== file.size)) throw twice(path, name);
        if (first === undefined) {
          files.set(name, file);
          await options.onFile?.(file);
        } else if (!(await options.isSame(first, file))) throw twice(path, name);
      }
      if (files.size + links.size > maxFiles)
        throw unreadArchive(path, `it has more than ${maxFiles} files, as no archive of images does`);
    }
    return new TarIndex(path, files, links);
  }

  /** The file of a name, links followed inside of the archive. Throws BUNDLE for links that lead nowhere. */
  find(name: string): TarFile | undefined {
    let at = name;
    for (let depth = 0; depth <= maxLinkDepth; depth += 1) {
      const file = this.#files.get(at);
      if (file !== undefined) return file;
      const target = this.#links.get(at);
      if (target === undefined) {
        if (depth === 0) return undefined;
        throw unreadArchive(this.#path, `its ${name} is a link to ${shownName(at)}, which is not there`);
      }
      at = target;
    }
    throw unreadArchive(this.#path, `its ${name} is a link that leads on and on`);
  }
}

/** A name without `./` in front. Throws INTEGRITY for one that leads out of the archive, which no honest tool writes. */
function plainName(name: string, path: string): string {
  const plain = name.replace(/^(?:\.\/+)+/, "");
  if (/^[/\\]|^[A-Za-z]:|\\|\0|(?:^|\/)\.\.(?:\/|$)/.test(plain) && !/^sha(?:256|512):/.test(plain))
    throw damagedArchive(path, `an entry is called ${shownName(name)}, a path out of the archive`);
  return plain;
}

/** Where a link leads to, as a name in the archive. */
function linkTarget(name: string, entry: TarEntry, path: string): string {
  const what = `its ${name} is ${entry.kind === "link" ? "a link" : "no regular file"}`;
  if (entry.kind !== "link" || foreignFilePaths.has(name) || blobName.test(name))
    throw unreadArchive(path, what);
  const target = posix.normalize(entry.symbolic ? posix.join(posix.dirname(name), entry.link) : entry.link);
  if (/^\/|^\.\.(?:\/|$)|\\|\0/.test(target) || entry.link.startsWith("/"))
    throw damagedArchive(path, `${what} to ${shownName(entry.link)}, out of the archive`);
  return target;
}

function twice(path: string, name: string): Error {
  return damagedArchive(
    path,
    `it has two files called ${name}, and they differ: readers would disagree about it`,
  );
}
