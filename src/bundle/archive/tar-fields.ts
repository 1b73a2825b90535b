/**
 * The fields of a tar header: ustar, GNU and PAX (POSIX.1-2001, "pax Interchange Format"). tar-stream reads the same,
 * but takes wrong sizes for 0 and stops at nothing; an archive from a stranger has to be read strictly (protocol notes
 * 9.4).
 */
import { blockBytes } from "../tar-header.ts";

/** What one header block says. Sizes in bytes. */
export interface TarFields {
  readonly name: string;
  readonly size: number;
  /** The type flag: `0` for a regular file. */
  readonly type: string;
  readonly link: string;
}

/** What a PAX header says of the entry behind it. */
export interface PaxFields {
  readonly name?: string;
  readonly link?: string;
  readonly size?: number;
  readonly sparse?: boolean;
}

/** A header that cannot be read; the message continues "the tar header at byte 512". */
export class TarFault extends Error {
  /** True if the block says that it is one of a tar. */
  readonly isTar: boolean;

  constructor(message: string, isTar = true) {
    super(message);
    this.isTar = isTar;
  }
}

/** Reads a header block. Throws TarFault. */
export function readFields(block: Buffer): TarFields {
  const stated = octal(block.subarray(148, 156));
  let sum = 0;
  for (let at = 0; at < blockBytes; at += 1) sum += at >= 148 && at < 156 ? 32 : (block[at] ?? 0);
  if (stated !== sum)
    throw new TarFault("has a wrong checksum", block.toString("latin1", 257, 262) === "ustar");
  const name = text(block, 0, 100);
  // GNU keeps other things where POSIX has the front of a long name.
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? text(block, 345, 155) : "";
  const size = numeric(block.subarray(124, 136));
  if (size === undefined) throw new TarFault("has a size that is not a number of bytes");
  const flag = String.fromCharCode(block[156] ?? 0);
  // "7" is a file for systems that lay files out in one piece (POSIX: treat it as a regular one).
  const type = flag === "\0" || flag === "7" ? "0" : flag;
  return { name: prefix === "" ? name : `${prefix}/${name}`, size, type, link: text(block, 157, 100) };
}

/** Reads the records of a PAX header. Throws TarFault. */
export function readPax(bytes: Buffer): PaxFields {
  const found: { name?: string; link?: string; size?: number; sparse?: boolean } = {};
  let at = 0;
  while (at < bytes.byteLength) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 || space - at > 8 ? Number.NaN : decimal(bytes.toString("latin1", at, space));
    const end = at + length;
    if (!(end <= bytes.byteLength && end > space + 1) || bytes[end - 1] !== 0x0a)
      throw new TarFault("has PAX records that cannot be read");
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw new TarFault("has PAX records that cannot be read");
    const key = bytes.toString("utf8", space + 1, equals);
    const value = bytes.toString("utf8", equals + 1, end - 1);
    if (key.startsWith("GNU.sparse.")) found.sparse = true;
    if (key === "path") found.name = value;
    if (key === "linkpath") found.link = value;
    if (key === "size") {
      found.size = decimal(value);
      if (!Number.isSafeInteger(found.size)) throw new TarFault("has a size that is not a number of bytes");
    }
    at = end;
  }
  return found;
}

/** A long name as GNU tar writes it: it ends at its first NUL. */
export function readLongName(bytes: Buffer): string {
  return text(bytes, 0, bytes.byteLength);
}

function text(bytes: Buffer, from: number, length: number): string {
  const end = bytes.indexOf(0, from);
  return bytes.toString("utf8", from, end < 0 || end > from + length ? from + length : end);
}

/** Octal, or in base 256 where its first bit is set (GNU, for sizes over 8 GiB); undefined for what is neither. */
function numeric(field: Buffer): number | undefined {
  const first = field[0] ?? 0;
  if ((first & 0x80) === 0) return octal(field);
  // 0xff begins a negative number.
  if (first !== 0x80) return undefined;
  let value = 0;
  for (const byte of field.subarray(1)) {
    value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) return undefined;
  }
  return value;
}

function octal(field: Buffer): number | undefined {
  const digits = /^[ ]*([0-7]*)[ \0]*$/.exec(field.toString("latin1").replace(/\0.*$/s, ""))?.[1];
  if (digits === undefined) return undefined;
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function decimal(digits: string): number {
  return /^[0-9]+$/.test(digits) ? Number(digits) : Number.NaN;
}
