/** Positional reads and writes that are whole or fail, and the system's errors in words. */
import { constants } from "node:os";
import { AppError, systemCode } from "../errors.ts";
import type { PositionalReader, PositionalWriter } from "./positional-file.ts";

const gone = "check the disk and its connection, then run the same command again";
const reasons: Readonly<Record<string, { text: string; hint: string }>> = {
  ENOENT: { text: "there is no such file or folder", hint: "check the path" },
  EACCES: { text: "permission denied", hint: "choose another folder, or ask for the right to use this one" },
  EPERM: { text: "permission denied", hint: "choose another folder, or ask for the right to use this one" },
  EROFS: { text: "the file system is read-only", hint: "make it writable, or choose another folder" },
  ENOSPC: { text: "no space left on the disk", hint: "make room, then run the same command again" },
  EDQUOT: { text: "your disk quota is used up", hint: "make room, then run the same command again" },
  EFBIG: {
    text: "the file would be too large for the file system",
    hint: "write volumes with --volume-size 4GB (FAT32 takes no more), or use another file system; if ulimit -f sets the limit, raise it",
  },
  EMFILE: { text: "too many files are open", hint: "raise the limit: ulimit -n" },
  ENFILE: {
    text: "too many files are open on this machine",
    hint: "end other programs, or raise fs.file-max",
  },
  EISDIR: { text: "it is a folder", hint: "name a file" },
  ELOOP: { text: "it is a symbolic link", hint: "remove it, or choose another name" },
  ENAMETOOLONG: { text: "the name is too long", hint: "choose a shorter one" },
  ENOTDIR: { text: "a part of the path is not a folder", hint: "check the path" },
  EIO: { text: "the disk reports an error", hint: gone },
  ENXIO: { text: "the disk is gone", hint: gone },
  ENODEV: { text: "the disk is gone", hint: gone },
  ESTALE: { text: "the network file system has lost it", hint: gone },
  ETIMEDOUT: { text: "the network file system does not answer", hint: gone },
};

/** The DISK error for a failed file operation. `what` continues "Cannot": `write bundle.tar`. */
export function diskError(what: string, cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  const code = nameOf(systemCode(cause) ?? "");
  const known = reasons[code];
  const text = known?.text ?? (cause instanceof Error ? cause.message : String(cause));
  const forbidden = what.startsWith("read ") && /^(?:EACCES|EPERM)$/.test(code);
  return new AppError(code === "ENOENT" ? "NOT_FOUND" : "DISK", `Cannot ${what}: ${text}`, {
    hint: forbidden ? "ask for the right to read it" : known?.hint,
    cause,
    ...(code === "" ? {} : { details: { code } }),
  });
}

/** For the `catch` of a file operation: throws its {@link diskError}. */
export function asDiskError(what: string): (cause: unknown) => never {
  return (cause) => {
    throw diskError(what, cause);
  };
}

/** libuv has no names for some (EDQUOT, ESTALE): `Unknown system error -122`. */
function nameOf(code: string): string {
  const number = Number(/^Unknown system error -(\d+)$/.exec(code)?.[1]);
  return Object.entries(constants.errno).find(([, value]) => value === number)?.[0] ?? code;
}

/** Writes all of the buffers at a position (bytes). Throws DISK. */
export async function writeAll(
  file: PositionalWriter,
  buffers: readonly Uint8Array[],
  position: number,
  name: string,
): Promise<void> {
  let left: readonly Uint8Array[] = buffers;
  let at = position;
  try {
    while (left.length > 0) {
      const { bytesWritten } = await file.writev(left, at);
      at += bytesWritten;
      left = without(left, bytesWritten);
    }
  } catch (error) {
    throw diskError(`write ${name}`, error);
  }
}

/** Reads exactly `length` bytes at a position. Throws INTEGRITY if the file ends before, DISK if it cannot be read. */
export async function readExactly(
  file: Pick<PositionalReader, "read">,
  position: number,
  length: number,
  name: string,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  await readInto(file, buffer, position, name);
  return buffer;
}

/** Fills a buffer from a position, and gives it back. Throws as {@link readExactly}. */
export async function readInto<T extends Uint8Array>(
  file: Pick<PositionalReader, "read">,
  buffer: T,
  position: number,
  name: string,
): Promise<T> {
  let filled = 0;
  while (filled < buffer.byteLength) {
    const { bytesRead } = await file
      .read(buffer, filled, buffer.byteLength - filled, position + filled)
      .catch(asDiskError(`read ${name}`));
    if (bytesRead === 0) {
      throw new AppError(
        "INTEGRITY",
        `Cannot read ${name}: it is truncated, there is nothing at byte ${position + filled}`,
        {
          hint: "the file is truncated, or changed while it was read: copy it again",
        },
      );
    }
    filled += bytesRead;
  }
  return buffer;
}

function without(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let skip = bytes;
  let at = 0;
  for (const buffer of buffers) {
    if (skip < buffer.byteLength) break;
    skip -= buffer.byteLength;
    at += 1;
  }
  const first = buffers[at];
  if (first === undefined) return [];
  return [first.subarray(skip), ...buffers.slice(at + 1)];
}
