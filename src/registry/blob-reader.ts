/**
 * Reads a blob from any offset on: closed ranges, and what to do where a registry takes none, or answers with another
 * one (protocol notes 5.2). Bytes of two answers are never put together unless the second one says where it begins.
 */
import type { ByteStream, OpenOptions } from "../content/content.ts";
import { AppError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { codingOf, contentOf, lengthOf, type Readings } from "./blob-content.ts";
import type { RegistryClient } from "./client.ts";
import { type Answer, bodyStream, discard, singleHeader } from "./http.ts";
import { isPage, otherAnswer } from "./page.ts";
import type { RegistryRequest } from "./request.ts";
import { pullScope } from "./scopes.ts";

/** What a registry has shown of how it serves blobs, for the run. */
interface Habits extends Readings {
  /** Ranges that it refused or got wrong since the last one that it served. */
  refusedRanges: number;
}

/** Once is a cache or a node behind a balancer; twice in a row is the registry. */
const maxRefusedRanges = 2;
/** A part is at most this often shorter than what was asked for, for one blob. */
const maxParts = 10_000;
const habitsOf = new WeakMap<RegistryClient, Habits>();

interface BlobRequest {
  readonly client: RegistryClient;
  readonly descriptor: Descriptor;
  readonly wanted: RegistryRequest;
  readonly habits: Habits;
}

/** Bytes that begin where they were asked for, and where they end (bytes from the start of the blob, exclusive). */
interface Part {
  readonly stream: ByteStream;
  readonly end: number;
}

/**
 * GET of a blob, with a closed range where the offset is not 0 (some registries refuse open ranges). The bytes are
 * not verified. Throws as the client does, and {@link OtherAnswer} for what is not the blob.
 */
export async function openBlob(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  options: OpenOptions = {},
): Promise<ByteStream> {
  const offset = options.offset ?? 0;
  const { digest, size } = descriptor;
  const habits = habitsOf.get(client) ?? { refusedRanges: 0, labelled: new Set(), encoded: new Set() };
  habitsOf.set(client, habits);
  const wanted: RegistryRequest = {
    method: "GET",
    path: `/v2/${repository}/blobs/${digest}`,
    what: `read blob ${digest} from ${client.registry}/${repository}`,
    scopes: [pullScope(repository)],
    signal: options.signal,
    blob: true,
    accept: [200, 206],
  };
  const request = { client, descriptor, wanted, habits };
  const part = await openPart(request, offset);
  return part.end === size ? part.stream : joined(request, part, offset);
}

async function openPart(request: BlobRequest, offset: number): Promise<Part> {
  const { client, descriptor, wanted, habits } = request;
  const { digest, size } = descriptor;
  // What is encoded on its way need not be encoded into the same bytes again.
  const ranged = offset > 0 && habits.refusedRanges < maxRefusedRanges && !habits.labelled.has(digest);
  if (!ranged) return await openWhole(request, offset);
  const headers = { range: `bytes=${offset}-${size - 1}` };
  const answer = await client.request({ ...wanted, headers, accept: [200, 206, 416] });
  // The range was ignored. Asking for one costs nothing the next time either.
  if (answer.status === 200) return wholeFrom(request, answer, offset);
  const end = rangeEnd(answer, offset, size);
  if (end !== undefined) {
    habits.refusedRanges = 0;
    return { stream: bodyStream(answer, wanted.what), end };
  }
  // distribution 2.8 promises a body with its 416, and sends none: it is not waited for.
  discard(answer);
  if (answer.status === 206 && isPage(answer)) throw otherAnswer(answer, descriptor, lengthOf(answer));
  habits.refusedRanges += 1;
  return await openWhole(request, offset);
}

async function openWhole(request: BlobRequest, offset: number): Promise<Part> {
  const { client, descriptor, wanted } = request;
  const answer = await client.request(wanted);
  if (answer.status === 200) return wholeFrom(request, answer, offset);
  const end = offset === 0 ? rangeEnd(answer, 0, descriptor.size) : undefined;
  if (end !== undefined) return { stream: bodyStream(answer, wanted.what), end };
  discard(answer);
  if (isPage(answer)) throw otherAnswer(answer, descriptor, lengthOf(answer));
  const { host } = answer.url;
  throw new AppError("REGISTRY", `Cannot ${wanted.what}: ${host} answered 206 though no part was asked for`);
}

/** The whole blob came: what is before the offset is read and dropped. */
function wholeFrom(request: BlobRequest, answer: Answer, offset: number): Part {
  const { descriptor, wanted, habits } = request;
  const stream = contentOf(answer, descriptor, wanted.what, habits);
  return { stream: offset === 0 ? stream : skipping(stream, offset), end: descriptor.size };
}

/**
 * Where a 206 ends (exclusive), if it is one range, of this very blob, that begins where it was asked to. Undefined
 * for every other answer.
 */
function rangeEnd(answer: Answer, offset: number, size: number): number | undefined {
  const multipart = /^multipart\//i.test(singleHeader(answer, "content-type") ?? "");
  if (answer.status !== 206 || multipart || codingOf(answer) !== undefined) return undefined;
  const range = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i.exec(
    singleHeader(answer, "content-range") ?? "",
  );
  if (range === null) return undefined;
  const [, start, last, total] = range;
  const end = Number(last) + 1;
  if (Number(start) !== offset || (total !== "*" && Number(total) !== size)) return undefined;
  if (total === "*" && isPage(answer)) return undefined;
  if (end <= offset || end > size) return undefined;
  const length = lengthOf(answer);
  return length === undefined || length === end - offset ? end : undefined;
}

/** A registry may send less than it was asked for (RFC 9110 15.3.7): the next part is asked for until all is there. */
async function* joined(request: BlobRequest, first: Part, offset: number): AsyncGenerator<Uint8Array, void> {
  let part = first;
  let at = offset;
  for (let parts = 1; parts <= maxParts; parts += 1) {
    for await (const chunk of part.stream) {
      const piece = at + chunk.byteLength > part.end ? chunk.subarray(0, part.end - at) : chunk;
      at += piece.byteLength;
      yield piece;
      if (piece.byteLength < chunk.byteLength) break;
    }
    if (at < part.end || at >= request.descriptor.size) return;
    part = await openPart(request, at);
  }
  const { client, wanted } = request;
  throw new AppError(
    "REGISTRY",
    `Cannot ${wanted.what}: ${client.registry} sends it in too many small parts`,
  );
}

/** A stream without its first bytes. */
export async function* skipping(stream: ByteStream, bytes: number): AsyncGenerator<Uint8Array, void> {
  let left = bytes;
  for await (const chunk of stream) {
    if (left >= chunk.byteLength) left -= chunk.byteLength;
    else {
      yield left === 0 ? chunk : chunk.subarray(left);
      left = 0;
    }
  }
}
