/**
 * The content in the answer to a whole blob, whatever its Content-Encoding says (protocol notes 5.4). Servers put that
 * header on layers that are gzip by themselves, and others do encode on the way although nobody asked them to: what
 * decides is the digest, and the size where that is enough.
 */
import { pipeline, Readable } from "node:stream";
import {
  brotliDecompressSync,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
  gunzipSync,
  inflateSync,
  zstdDecompressSync,
} from "node:zlib";
import type { ByteStream } from "../content/content.ts";
import { AppError, isAppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, finishDigest, hasherFor } from "../oci/digest.ts";
import { type Answer, bodyStream, discard, readBytes, singleHeader } from "./http.ts";
import { isPage, otherAnswer, unlessPage } from "./page.ts";

/** What is known of blobs of a registry that came with a Content-Encoding. */
export interface Readings {
  /** They had one: a part of them cannot be asked for. */
  readonly labelled: Set<Digest>;
  /** As they came they had another digest: they are decoded from now on. */
  readonly encoded: Set<Digest>;
}

type Coding = keyof typeof codings;

const codings = {
  gzip: { stream: createGunzip, whole: gunzipSync },
  deflate: { stream: createInflate, whole: inflateSync },
  br: { stream: createBrotliDecompress, whole: brotliDecompressSync },
  zstd: { stream: createZstdDecompress, whole: zstdDecompressSync },
} as const;

/** What is no larger is read into memory to see which it is; a second read would cost more. Bytes. */
const smallBytes = 4 * 1024 * 1024;

/**
 * The bytes of a blob out of the answer with status 200. They are not verified. Throws {@link OtherAnswer} for an answer
 * that is announced with another size than the blob's, at once, and for a page.
 */
export function contentOf(
  answer: Answer,
  descriptor: Descriptor,
  what: string,
  readings: Readings,
): ByteStream {
  const { digest, size } = descriptor;
  const coding = codingOf(answer);
  const length = lengthOf(answer);
  if (coding === undefined && length !== undefined && length !== size) {
    discard(answer);
    throw otherAnswer(answer, descriptor, length);
  }
  const stream = bodyStream(answer, what);
  if (isPage(answer) && length !== size) {
    if (coding === undefined) return unlessPage(stream, answer, descriptor);
    return unlessPage(stream, answer, descriptor, {
      whole: (bytes) => wholeOf(bytes, coding, size),
      large: (all) => {
        // Only now: a page says nothing of how the blob comes.
        readings.labelled.add(digest);
        if (length !== undefined || readings.encoded.has(digest)) return decoded(all, coding, descriptor);
        return doubted(all, descriptor, readings);
      },
    });
  }
  if (coding === undefined) return stream;
  readings.labelled.add(digest);
  // As long as the content itself: it is the content, and the header speaks of that.
  if (length === size) return stream;
  if (length !== undefined || readings.encoded.has(digest)) return decoded(stream, coding, descriptor);
  if (size <= smallBytes) return decided(answer, coding, descriptor, what);
  return doubted(stream, descriptor, readings);
}

/** The one coding of an answer that can be undone. Undefined for none; names such as `aws-chunked` mean none. */
export function codingOf(answer: Answer): Coding | undefined {
  const names = [answer.headers["content-encoding"] ?? []].flat().join(",").toLowerCase().split(",");
  const [name, ...more] = names.map((part) => part.trim().replace(/^x-/, "")).filter(isCoding);
  return more.length === 0 ? name : undefined;
}

/** The Content-Length of an answer, if it has one. Bytes. */
export function lengthOf(answer: Answer): number | undefined {
  const text = singleHeader(answer, "content-length");
  return text === undefined ? undefined : Number(text);
}

function isCoding(name: string): name is Coding {
  return Object.hasOwn(codings, name);
}

/** Undoes a coding, at most to the size of the content: a few kilobytes can be made to become gigabytes. */
async function* decoded(
  stream: ByteStream,
  coding: Coding,
  { digest, size }: Descriptor,
): AsyncGenerator<Uint8Array, void> {
  const wrong = (state: string, cause?: unknown): AppError =>
    new AppError("INTEGRITY", `Cannot verify ${digest}: ${state}`, { cause, details: { digest, size } });
  const decoder = codings[coding].stream();
  pipeline(Readable.from(owned(stream), { objectMode: false }), decoder, () => undefined);
  let seen = 0;
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      seen += chunk.byteLength;
      if (seen > size)
        throw wrong(`it came with Content-Encoding ${coding}, and decodes to more than ${size} bytes`);
      yield chunk;
    }
  } catch (error) {
    if (isAppError(error)) throw error;
    throw wrong(`it came with Content-Encoding ${coding}, and cannot be decoded`, error);
  }
}

/** Copies of chunks that are only lent: a decoder works on them later. */
async function* owned(stream: ByteStream): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of stream) yield Buffer.from(chunk);
}

/** Small content, as it came or decoded, whichever has the digest; as it came if neither has. */
async function* decided(
  answer: Answer,
  coding: Coding,
  { digest, size }: Descriptor,
  what: string,
): AsyncGenerator<Uint8Array, void> {
  // No coding makes content more than a little longer.
  const raw = await readBytes(answer, size + size / 8 + 4096, "cut", what);
  if (digestOf(raw, algorithmOf(digest)) === digest) {
    yield raw;
    return;
  }
  const plain = wholeOf(raw, coding, size);
  // Otherwise the bytes that came are the ones to complain about.
  yield plain !== undefined && digestOf(plain, algorithmOf(digest)) === digest ? plain : raw;
}

/** Bytes without their coding; undefined if they are not what it says, or over `size` bytes. */
function wholeOf(raw: Buffer, coding: Coding | undefined, size: number): Buffer | undefined {
  try {
    return coding && codings[coding].whole(raw, { maxOutputLength: Math.max(size, 1) });
  } catch {
    return undefined;
  }
}

/**
 * Large content as it came. If it turns out not to be the content, it is decoded when it is read the next time, which
 * is what whoever verifies it does once.
 */
async function* doubted(
  stream: ByteStream,
  { digest, size }: Descriptor,
  readings: Readings,
): AsyncGenerator<Uint8Array, void> {
  const hash = hasherFor(digest);
  let seen = 0;
  try {
    for await (const chunk of stream) {
      seen += chunk.byteLength;
      hash.update(chunk);
      yield chunk;
    }
    if (seen < size) {
      // Not a break: what came so far must not be gone on from.
      readings.encoded.add(digest);
      throw new AppError("INTEGRITY", `Cannot verify ${digest}: got ${seen} bytes, expected ${size}`, {
        details: { digest, size },
      });
    }
  } finally {
    const whole = seen === size && finishDigest(hash, algorithmOf(digest)) === digest;
    if (seen >= size && !whole) readings.encoded.add(digest);
  }
}
